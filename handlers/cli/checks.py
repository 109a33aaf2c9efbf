"""What `tenantctl doctor` looks at."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

from nats.aio.client import Client
from nats.errors import Error as NatsError

from handlers.adapters import jetstream
from handlers.adapters.sweep import MEANS, Means
from handlers.cli.exits import Misuse
from handlers.cli.finding import Finding
from handlers.cli.leftovers import leftovers
from handlers.cli.projections import connections
from handlers.cli.where import PATIENCE, Common, bus, http_url, settings, store
from handlers.client import NoAnswer, TenantClient
from handlers.projector.parking import parked_streams
from handlers.projector.tables import LIVE
from handlers.relay.context_place import place_of
from handlers.settings import Settings, unknown
from handlers.store.connections import Connections
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Streams
from projections.context import FACTS
from projections.registry import READ_MODELS
from tenant_domain.refusals import Refusal, UnknownCommand

QUICK = 2.0
"""Seconds in which a part that is well answers."""

LATE = 10.0
"""Seconds after which a due run that nobody has taken means that nobody will."""

_NOBODY = UUID(int=0)

_TABLES = b"SELECT to_regclass('service.event_head') IS NOT NULL, current_setting('server_version')"
_HEAD = b"SELECT position FROM service.event_head"
_WORKERS = b"""
SELECT count(*), count(*) FILTER (WHERE EXISTS (
    SELECT FROM service.command_workers w WHERE w.owner = p.owner AND w.lease_until > now()))
FROM service.command_progress p"""
_LETTERS = b"SELECT count(*), count(*) FILTER (WHERE published_at IS NULL) FROM service.dead_letters"
_AGENDA = b"""
SELECT count(*), count(*) FILTER (WHERE due_at < now() - make_interval(secs => %s)
    AND NOT EXISTS (SELECT FROM service.saga_workers w WHERE w.owner = a.owner AND w.lease_until > now()))
FROM service.saga_agenda a"""


async def examined(common: Common) -> AsyncGenerator[Finding]:
    """Yield findings, from the ground up; what stands on a server that is down is left out."""
    try:
        chosen = settings(common)
    except Misuse as error:
        yield Finding("settings", "broken", str(error), "`tenantctl settings` lists them all.")
        return
    for finding in _settings(chosen):
        yield finding
    async for finding in _bus(common):
        yield finding
    async for finding in _database(common, chosen):
        yield finding
    yield await _edge(common, chosen)


def _settings(chosen: Settings) -> list[Finding]:
    findings = [Finding(each.variable, "look", "no setting", each.sentence()) for each in unknown()]
    for name in ("signing_key_file", "master_key_file"):
        path = getattr(chosen, name)
        variable = f"TENANTS_{name.upper()}"
        if path is None:
            findings.append(Finding(name, "look", "not set", f"Set {variable} where the service runs."))
        elif path.exists() and path.stat().st_mode & 0o007:
            findings.append(Finding(name, "broken", f"{path}: everybody may read it", f"chmod 600 {path}"))
        elif path.exists() or chosen.create_keys:
            findings.append(Finding(name, "ok", str(path)))
        else:
            findings.append(Finding(name, "look", f"no {path} here", "The service needs it where it runs."))
    return findings


async def _bus(common: Common) -> AsyncGenerator[Finding]:
    try:
        async with bus(common) as nc:
            version = nc.connected_server_version
            yield Finding("nats", "ok", f"nats-server {version.major}.{version.minor}.{version.patch}")
            streams = Streams.of(settings(common).subject_prefix)
            for stream in (streams.commands, streams.events, streams.dead_letters, streams.context_stream):
                yield await _stream(nc, stream)
            client = TenantClient(nc, prefix=settings(common).subject_prefix, timeout=QUICK)
            yield await _commands_door(client)
            yield await _queries_door(client)
    except (Refusal, NatsError, OSError) as error:
        yield Finding("nats", "broken", str(error), "Start it, or set TENANTS_NATS_URL.")


async def _stream(nc: Client, name: str) -> Finding:
    try:
        info = await jetstream.stream_info(nc, name)
    except jetstream.JetStreamError as error:
        return Finding(name, "broken", str(error), "Start nats-server with JetStream.")
    if info is None:
        return Finding(name, "broken", "missing", "Start the service: it declares its streams.")
    state = info["state"]
    return Finding(name, "ok", f"{state['messages']} messages, last {state['last_seq']}")


async def _commands_door(client: TenantClient) -> Finding:
    try:
        await client.command(_NOBODY, "none_such", timeout=QUICK)
    except UnknownCommand:
        return Finding("commands", "ok", "answer")
    except (Refusal, NoAnswer) as error:
        return Finding("commands", "broken", str(error), "Start `tenantctl serve --role commands`.")
    return Finding("commands", "broken", "a stranger answers", "Look for another responder on the subject.")


async def _queries_door(client: TenantClient) -> Finding:
    try:
        parked = await client.query(None, "operations", status="parked", limit=500, timeout=QUICK)
    except (Refusal, NoAnswer) as error:
        return Finding("queries", "broken", str(error), "Start `tenantctl serve --role projections`.")
    count = len(parked["items"])
    if count:
        more = "at least " if count == 500 else ""
        found = f"{more}{count} operations are parked"
        return Finding(
            "queries", "look", found, "`tenantctl operations list --status parked`; retry or undo."
        )
    return Finding("queries", "ok", "answer; no operation is parked")


async def _database(common: Common, chosen: Settings) -> AsyncGenerator[Finding]:
    try:
        async with asyncio.timeout(PATIENCE), connections(common) as pool:
            ((migrated, version),) = await pool.fetch(_TABLES, ())
            yield Finding("postgres", "ok", f"PostgreSQL {version}")
            if not migrated:
                yield Finding("schema", "broken", "no tables", "Start the service: it makes its tables.")
                return
            yield await _partitions(pool)
            yield await _agenda(pool)
            yield await _relay(common, pool)
            yield await _live_context(common)
            for finding in await _read_models(pool):
                yield finding
            yield await _dead_letters(pool)
            yield await _erasure(pool)
            yield await leftovers(pool, chosen)
    except (Refusal, StoreError, TimeoutError) as error:
        yield Finding("postgres", "broken", str(error) or "silent", "Start it, or set TENANTS_POSTGRES_URL.")


async def _partitions(pool: Connections) -> Finding:
    ((partitions, held),) = await pool.fetch(_WORKERS, ())
    found = f"{held} of {partitions} partitions have a worker"
    if held < partitions:
        return Finding("durable commands", "broken", found, "Start `tenantctl serve --role commands`.")
    return Finding("durable commands", "ok", found)


async def _agenda(pool: Connections) -> Finding:
    ((runs, late),) = await pool.fetch(_AGENDA, (LATE,))
    if late:
        found = f"{late} of {runs} unfinished runs are overdue and nobody has them"
        return Finding("sagas", "broken", found, "Start `tenantctl serve --role sagas`.")
    return Finding("sagas", "ok", f"{runs} unfinished runs, none overdue")


async def _relay(common: Common, pool: Connections) -> Finding:
    """Compare the stream's end with the log's, twice: a relay at work moves."""
    name = Streams.of(settings(common).subject_prefix).events
    advice = "Start `tenantctl serve --role relay`; its log says whether the stream needs `events rebuild`."
    try:
        async with bus(common) as nc:
            before = await _behind(nc, name, pool)
            if before:
                await asyncio.sleep(QUICK / 2)
            after = await _behind(nc, name, pool)
    except (Refusal, NatsError) as error:
        return Finding("relay", "broken", str(error), "Start NATS first.")
    found = f"{name} is {after} events behind the store"
    if (after > 0 and after >= before) or after < 0:
        return Finding("relay", "broken", found, advice)
    return Finding("relay", "ok", found)


async def _behind(nc: Client, stream: str, pool: Connections) -> int:
    info = await jetstream.stream_info(nc, stream)
    last: int = info["state"]["last_seq"] if info else 0
    ((head,),) = await pool.fetch(_HEAD, ())
    return head - last


async def _live_context(common: Common) -> Finding:
    """Look twice whether the log has anything that the bucket lacks: a relay at work moves."""
    what, advice = "live context", "Start `tenantctl serve --role relay`; if one runs: `context rebuild`."
    streams = Streams.of(settings(common).subject_prefix)
    try:
        async with bus(common) as nc, store(common) as log:
            before = await _lacking(nc, log, streams)
            if before:
                await asyncio.sleep(QUICK / 2)
            after = await _lacking(nc, log, streams)
    except (Refusal, NatsError, jetstream.JetStreamError) as error:
        return Finding(what, "broken", str(error), "Start NATS first.")
    found = f"{after} tenants have changed since the last entry was written"
    return Finding(what, "broken", found, advice) if after and after >= before else Finding(what, "ok", found)


async def _lacking(nc: Client, log: EventStore, streams: Streams) -> int:
    place = await place_of(nc, log, streams)
    return len(await log.latest(FACTS, place.position if place else 0, await log.head()))


async def _read_models(pool: Connections) -> list[Finding]:
    findings: list[Finding] = []
    parked = await parked_streams(pool)
    before = await _positions(pool)
    ((head,),) = await pool.fetch(_HEAD, ())
    if any(position < head for position in before.values()):
        await asyncio.sleep(QUICK / 2)
    after = await _positions(pool)
    for name in READ_MODELS:
        what = f"read model {name}"
        stuck = sum(stream.read_model == name for stream in parked)
        if name not in after:
            findings.append(Finding(what, "broken", "missing", "Start `tenantctl serve --role projections`."))
        elif after[name] < head and after[name] == before.get(name):
            found = f"{head - after[name]} events behind, and not moving"
            findings.append(Finding(what, "broken", found, "Start `tenantctl serve --role projections`."))
        elif stuck:
            advice = f"`tenantctl projections status`, then `projections retry {name}`."
            findings.append(Finding(what, "look", f"{stuck} streams are parked", advice))
        else:
            findings.append(Finding(what, "ok", f"at position {after[name]}"))
    return findings


async def _positions(pool: Connections) -> dict[str, int]:
    return {row[0]: row[3] for row in await pool.fetch(LIVE, ())}


async def _dead_letters(pool: Connections) -> Finding:
    ((letters, unpublished),) = await pool.fetch(_LETTERS, ())
    if letters:
        found = f"{letters} messages were given up, {unpublished} of them not published yet"
        return Finding("dead letters", "look", found, "`tenantctl dead-letters list`; mend, then replay.")
    return Finding("dead letters", "ok", "none")


async def _erasure(pool: Connections) -> Finding:
    (row,) = await pool.fetch(MEANS.encode(), ())
    missing = Means(*row).missing()
    if missing:
        found = "bytes of deleted tenants stay in the server's files, and certificates say so"
        return Finding("erasure", "look", found, f"As a superuser: {'; '.join(missing)}.")
    return Finding("erasure", "ok", "may remove all bytes of a deleted tenant")


async def _edge(common: Common, chosen: Settings) -> Finding:
    url = http_url(common) or f"http://127.0.0.1:{chosen.http_port}"
    try:
        body: Any = await asyncio.to_thread(_get, f"{url}/health")
    except (OSError, ValueError) as error:
        return Finding(
            "http", "look", f"{url}: {error}", "Start `tenantctl serve --role http`, if it is wanted."
        )
    return Finding("http", "ok", f"{url}: {body}")


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=QUICK) as answer:  # noqa: S310 - our own edge
            return answer.read(1000).decode()
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(f"{error.code} {error.read(1000).decode()}") from None
