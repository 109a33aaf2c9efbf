"""The checker: what was promised against what the log, the stream, the ledger and the read models hold.

It reads the tables and the stream by itself, with none of the service's own readers; only what is sealed
it opens with the service's keyring.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import nats
import nats.errors
import nats.js.errors
import psycopg
from nats.js import JetStreamContext

from handlers.adapters.keyring import Keyring
from handlers.adapters.keys import MasterKey, load_master_key
from handlers.store.event_store import EventStore
from tests.faults.context import differing
from tests.faults.load import Ledger

QUIET_WITHIN = 120.0
"""Seconds after the last harm in which everything must have come to its end."""


@dataclass(frozen=True)
class LogEvent:
    """One event of the log, as stored."""

    position: int
    tenant_id: UUID
    stream_id: UUID
    version: int
    name: str
    data: dict[str, Any]
    causation_id: str | None


async def read_log(postgres_url: str) -> list[LogEvent]:
    """Return the whole log in the order of its positions."""
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        rows = await connection.execute(
            "SELECT notification_id, tenant_id, originator_id, originator_version, topic, state"
            " FROM service.events ORDER BY notification_id"
        )
        events: list[LogEvent] = []
        async for position, tenant_id, stream_id, version, topic, state in rows:
            body = json.loads(bytes(state))
            meta = body.get("meta", {})
            events.append(
                LogEvent(
                    position, tenant_id, stream_id, version, topic, body["data"], meta.get("causation_id")
                )
            )
        return events


async def wait_until_quiet(postgres_url: str, nats_url: str) -> list[str]:
    """Wait until nothing is left to do: commands decided, runs finished, relay and read models at the end.

    Returns what is still undone when QUIET_WITHIN is over; empty when all came to rest.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + QUIET_WITHIN
    undone = ["never looked"]
    while undone and loop.time() < end:
        try:
            undone = await _undone(postgres_url, nats_url)
        except (psycopg.OperationalError, nats.errors.Error, TimeoutError, OSError) as error:
            undone = [f"a server does not answer: {type(error).__name__}"]
        await asyncio.sleep(0.3)
    return undone


async def _undone(postgres_url: str, nats_url: str) -> list[str]:
    nc = await nats.connect(nats_url, allow_reconnect=False, connect_timeout=2)
    try:
        js = nc.jetstream(timeout=2)
        published = (await js.stream_info("TENANT_EVENTS")).state.last_seq
        async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
            head = await _one(connection, "SELECT position FROM service.event_head")
            agenda = await _one(connection, "SELECT count(*) FROM service.saga_agenda")
            behind = "SELECT count(*) FROM service.projections WHERE live AND position < %s"
            lagging = await _one(connection, behind, (head,))
            rows = await connection.execute("SELECT partition, sequence FROM service.command_progress")
            waiting = sum([await _waiting(js, partition, decided) async for partition, decided in rows])
    finally:
        await nc.close()
    facts = {
        f"commands wait in {waiting} partitions": waiting,
        f"TENANT_EVENTS ends at {published}, the log at {head}": published != head,
        f"{agenda} runs are unfinished": agenda,
        f"{lagging} read models are behind": lagging,
    }
    return [sentence for sentence, true in facts.items() if true]


async def _waiting(js: JetStreamContext, partition: int, decided: int) -> bool:
    try:
        last = await js.get_last_msg("TENANT_COMMANDS", f"tenants.partitions.{partition}.>")
    except nats.js.errors.NotFoundError:
        return False
    return (last.seq or 0) > decided


async def _one(
    connection: psycopg.AsyncConnection[Any], query: LiteralString, values: tuple[Any, ...] = ()
) -> Any:
    row = await (await connection.execute(query, values)).fetchone()
    assert row is not None
    return row[0]


async def violations(postgres_url: str, nats_url: str, master_key: Path, ledger: Ledger) -> list[str]:
    """Return every promise that was broken, as sentences; empty when all was kept."""
    log = await read_log(postgres_url)
    plain = await _opened(log, postgres_url, load_master_key(master_key, create=False))
    tenants = _folded(plain)
    return [
        *_gaps(log),
        *_effects(plain, ledger),
        *_order(plain, ledger),
        *await _unrecorded(postgres_url, ledger),
        *await _stream_differs(nats_url, log),
        *await _read_models_differ(nats_url, tenants, len(log)),
        *await differing(nats_url, {tenant_id: row["status"] for tenant_id, row in tenants.items()}),
    ]


async def _opened(log: list[LogEvent], postgres_url: str, key: MasterKey) -> list[LogEvent]:
    """Return the log with its sealed fields opened."""
    async with EventStore(postgres_url, readers=1) as store:
        keyring = Keyring(store.tenant_keys, key)
        return [
            replace(event, data=json.loads(await keyring.open_json(json.dumps(event.data).encode())))
            for event in log
        ]


def _gaps(log: list[LogEvent]) -> list[str]:
    found = [
        f"position {event.position} stands at {place}"
        for place, event in enumerate(log, 1)
        if event.position != place
    ]
    versions: dict[UUID, int] = defaultdict(int)
    for event in log:
        versions[event.stream_id] += 1
        if event.version != versions[event.stream_id]:
            found.append(
                f"stream {event.stream_id} has version {event.version}, not {versions[event.stream_id]}"
            )
    return found[:20]


def _number(event: LogEvent) -> int | None:
    """Return the count that a numbered update set."""
    settings: dict[str, int] = event.data.get("settings") or {}
    return settings.get("number") if event.name == "tenant.profile_updated" else None


def _effects(log: list[LogEvent], ledger: Ledger) -> list[str]:
    """Every promised numbered update has exactly one event; no command has two of one kind."""
    numbered: Counter[tuple[UUID, int]] = Counter()
    by_cause: Counter[tuple[str, UUID, str]] = Counter()
    for event in log:
        number = _number(event)
        if number is not None:
            numbered[event.tenant_id, number] += 1
        if event.causation_id and event.name.startswith("tenant.p"):
            by_cause[event.causation_id, event.stream_id, event.name] += 1
    found = [
        f"{cause} caused {count} times {name}" for (cause, _, name), count in by_cause.items() if count > 1
    ]
    started = {event.tenant_id for event in log if event.name == "tenant.provisioning_started"}
    ready = {event.tenant_id: event.position for event in reversed(log) if event.name == "tenant.activated"}
    for promise in ledger.promises:
        if promise.command == "provision" and promise.tenant_id not in started:
            found.append(f"the promised provisioning of {promise.tenant_id} has no event")
        if promise.number is not None and numbered[promise.tenant_id, promise.number] > 1:
            found.append(f"update {promise.number} of {promise.tenant_id} was applied more than once")
    found += [f"{tenant_id} was never activated" for tenant_id in ledger.tenants if tenant_id not in ready]
    return found[:20]


def _order(log: list[LogEvent], ledger: Ledger) -> list[str]:
    """Numbered updates of a tenant were applied in the order of TENANT_COMMANDS."""
    last: dict[UUID, int] = defaultdict(int)
    found: list[str] = []
    for event in log:
        number = _number(event)
        if number is None:
            continue
        if number <= last[event.tenant_id]:
            found.append(f"{event.tenant_id} got update {number} after {last[event.tenant_id]}")
        last[event.tenant_id] = number
    return found[:20]


async def _unrecorded(postgres_url: str, ledger: Ledger) -> list[str]:
    """Every promise has a recorded outcome: a completed one, or a refusal by the tenant's state."""
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        rows = await connection.execute(
            "SELECT tenant_id, command_id, position IS NOT NULL FROM service.command_ledger"
        )
        recorded = {(tenant_id, command_id): completed async for tenant_id, command_id, completed in rows}
    found: list[str] = []
    for promise in ledger.promises:
        completed = recorded.get((promise.tenant_id, promise.command_id))
        if completed is None:
            found.append(f"{promise.command} {promise.command_id} of {promise.tenant_id} was lost")
        elif promise.sequence is None and not completed:
            found.append(
                f"{promise.command} {promise.command_id} was answered as completed and recorded as refused"
            )
    return found[:20]


async def _stream_differs(nats_url: str, log: list[LogEvent]) -> list[str]:
    """TENANT_EVENTS holds every event once, at the sequence that is its position."""
    nc = await nats.connect(nats_url)
    try:
        js = nc.jetstream(timeout=10)
        subscription = await js.subscribe("tenants.events.>", stream="TENANT_EVENTS", ordered_consumer=True)
        for event in log:
            message = await subscription.next_msg(timeout=30)
            headers = message.headers or {}
            sequence = message.metadata.sequence.stream
            subject = f"tenants.events.{event.tenant_id}.{event.name}"
            if (sequence, headers.get("ce-position"), message.subject) != (
                event.position,
                str(event.position),
                subject,
            ):
                return [
                    f"TENANT_EVENTS {sequence} is {message.subject}, the log's {event.position} is {subject}"
                ]
            if json.loads(message.data) != event.data:
                return [f"TENANT_EVENTS {sequence} has another body than the log"]
    finally:
        await nc.close()
    return []


def _folded(log: list[LogEvent]) -> dict[UUID, dict[str, Any]]:
    """Return what the log folds to, by tenant, folded by hand for what this load changes."""
    rows: dict[UUID, dict[str, Any]] = defaultdict(dict)
    for event in log:
        if event.stream_id == event.tenant_id:
            _fold(rows[event.tenant_id], event)
    return rows


async def _read_models_differ(
    nats_url: str, expected: dict[UUID, dict[str, Any]], position: int
) -> list[str]:
    """The `tenant` query answers what the log folds to."""
    found: list[str] = []
    nc = await nats.connect(nats_url)
    try:
        body = json.dumps({"min_position": position, "timeout_ms": 10_000}).encode()
        for tenant_id, row in expected.items():
            reply = await nc.request(f"tenants.queries.{tenant_id}.tenant", body, timeout=15)
            answer = json.loads(reply.data)
            differs = {
                key: (value, answer.get(key)) for key, value in row.items() if answer.get(key) != value
            }
            if differs:
                found.append(f"the read model of {tenant_id} differs: {differs}")
    finally:
        await nc.close()
    return found[:20]


STATUS_AFTER = {
    "tenant.provisioning_started": "provisioning",
    "tenant.activated": "active",
    "tenant.resumed": "active",
    "tenant.suspended": "suspended",
    "tenant.provisioning_failed": "failed",
}


def _fold(row: dict[str, Any], event: LogEvent) -> None:
    data = event.data
    row["version"] = event.version
    row["status"] = STATUS_AFTER.get(event.name, data.get("status", row.get("status")))
    row["name"] = data.get("name", row.get("name"))
    row["metadata"] = data.get("metadata", row.get("metadata"))
    row["settings"] = {**row.get("settings", {}), **data.get("settings", {})}
