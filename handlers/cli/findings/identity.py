"""Which log, which streams and which key these are: whether they belong together, and say the same."""

from __future__ import annotations

from pathlib import Path

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.key_check import CHECK_VALUE
from handlers.adapters.keys import MasterKeyError, load_master_key
from handlers.bus.marks import mark_of
from handlers.cli.findings.finding import Finding
from handlers.relay.likeness import beginning, differs_at, first_difference, is_cut
from handlers.settings import Settings
from handlers.store.connections import Connections
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Streams

SAMPLE = 32
"""Positions, spread over the stream, at which its messages are held against the log's events."""

BACK = 1.0
"""Seconds by which the database's clock may be behind the log: servers step theirs by less."""


async def master_key(pool: Connections, chosen: Settings) -> list[Finding]:
    """Hold the master key that the settings name, where it is here, against that of the database."""
    try:
        key = load_master_key(chosen.master_key_file or Path("master.key"), create=False)
    except MasterKeyError:
        return []  # whether there ought to be one is told elsewhere
    ((known,),) = await pool.fetch(CHECK_VALUE, ())
    if known is None or known == key.check_value():
        return [Finding("master key", "ok", "the database's" if known else "the database has none yet")]
    advice = "Name the right file with TENANTS_MASTER_KEY_FILE: no process starts with this one."
    return [Finding("master key", "broken", "not the one that the tenants' keys were wrapped with", advice)]


async def clock(log: EventStore) -> Finding:
    """Look whether the database's clock went back behind what it had told before."""
    seconds = await log.clock_behind()
    if seconds <= BACK:
        return Finding("clock of the log", "ok", "not behind any event")
    found = f"the database's clock is {seconds:.0f} s behind a time that it gave before"
    advice = (
        "Let NTP keep it. Tenants that have facts of that time keep it for their next ones until then;"
        " all others have the clock's."
    )
    return Finding("clock of the log", "look", found, advice)


async def events(nc: Client, streams: Streams, log: EventStore) -> list[Finding]:
    """Hold TENANT_EVENTS against the log: whose it is, its end, and a sample of its messages."""
    what = "identity of events"
    info = await jetstream.stream_info(nc, streams.events)
    if info is None:
        return []
    mark, identity = mark_of(info), await log.identity()
    if mark is not None and mark.log != identity.log:
        found = f"{streams.events} belongs to the log {mark.log}, the database holds {identity.log}"
        advice = "Correct TENANTS_POSTGRES_URL or TENANTS_NATS_URL, or `tenantctl events rebuild --adopt`."
        return [Finding(what, "broken", found, advice)]
    other = await first_difference(nc, log, streams.events, info, thorough=True)
    if other is None:
        first, last = info["state"]["first_seq"], info["state"]["last_seq"]
        step = max(1, (last - first) // SAMPLE)
        for position in range(max(1, first), last + 1, step):
            if other is None and await differs_at(nc, log, streams.events, position):
                other = position
    if other is not None:
        found = f"{streams.events} holds another message than the log's event at position {other}"
        return [
            Finding(what, "broken", found, "A running relay mends its end; else `tenantctl events rebuild`.")
        ]
    if is_cut(info):
        found = (
            f"{streams.events} has lost its positions {beginning(info)} to {info['state']['first_seq'] - 1}"
        )
        advice = (
            "A running relay makes it anew once it has nothing to publish; else `tenantctl events rebuild`."
        )
        return [Finding(what, "broken", found, advice)]
    return [Finding(what, "ok", f"{streams.events} holds the log's events, as far as looked at")]
