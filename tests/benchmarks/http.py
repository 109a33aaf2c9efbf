"""The HTTP edge under load: lookups of tenants beside provisionings, which are timed from call to activation.

Whoever calls is a process of its own with blocking sockets, so what the callers cost each other is no part of
the figures. A request counts from when it was due: those that a slow one holds up are slow, too.
"""

from __future__ import annotations

import asyncio
import http.client
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec
from nats.aio.msg import Msg

from handlers.client import TenantClient
from handlers.http_edge.tokens import OPERATOR, Signer
from handlers.wire.subjects import Subjects
from tests.benchmarks.machine import measured
from tests.benchmarks.stage import Service, connection, everything, provisioned, servers, service, until
from tests.benchmarks.table import Row, Sample, compare

TENANTS = 500
SECONDS = 5.0
LOOKUPS, STARTS = 100, 20
"""Requests in a second."""

_LOAD = f"beside {LOOKUPS} lookups and {STARTS} provisionings/s"


class Call(msgspec.Struct):
    """When a request was due, and when its answer was there, in seconds since the epoch."""

    tenant: UUID
    due: float
    answered: float


class Round(msgspec.Struct):
    """Milliseconds of lookups, of starts of a provisioning, and from those to the tenant's activation."""

    lookups: list[float]
    starts: list[float]
    ends: list[float]


async def lookup(rounds: int) -> Row:
    """Tell how long a lookup takes at p99."""
    what = f"HTTP: tenant lookup, p99, {_LOAD}"
    return await _measured(what, 10, rounds, lambda seen: _p99(seen.lookups))


async def start(rounds: int) -> Row:
    """Tell how long it takes at p99 until a provisioning is accepted."""
    what = f"HTTP: operation start, p99, {_LOAD}"
    return await _measured(what, 100, rounds, lambda seen: _p99(seen.starts))


async def provisioning(rounds: int) -> Row:
    """Tell how long it takes from the call until the tenant is active."""
    ends: list[float] = []

    def figure(seen: Round) -> float:
        ends.extend(seen.ends)
        return _p99(seen.ends)

    row = await _measured("", 1000, rounds, figure)
    row.what = f"HTTP: provisioning, end to end, p99 (p50 {statistics.median(ends):.0f} ms), {_LOAD}"
    return row


async def _measured(what: str, goal: float, rounds: int, figure: Callable[[Round], float]) -> Row:
    row = Row(what, "ms", "≤ 1", f"{goal:,g} ms")
    async with (
        servers() as stack,
        service(stack.endpoints, [("commands",), ("sagas", "projections", "relay", "http")]) as running,
        connection(stack.endpoints) as nc,
    ):
        tenants = await provisioned(stack.endpoints.postgres_url, TENANTS)
        await TenantClient(nc).tenant(tenants[-1], min_position=2 * len(tenants))
        activated: dict[UUID, float] = {}

        async def heard(fact: Msg) -> None:
            activated[UUID(fact.subject.split(".")[2])] = time.time()

        await nc.subscribe(Subjects().event("*", "tenant.activated"), cb=heard)
        await nc.flush()

        async def ours() -> Sample:
            with measured(everything(running.pids)) as usage:
                seen = await _round(running, tenants, activated)
            return Sample(figure(seen), None, usage.foreign)

        async def theirs() -> Sample:
            return Sample(goal)

        return await compare(row, ours, theirs, rounds)


async def _round(running: Service, tenants: Sequence[UUID], activated: dict[UUID, float]) -> Round:
    token = Signer.from_file(running.keys / "signing.pem").sign(user="bench", role=OPERATOR)
    lookups, starts = await asyncio.gather(
        _calls(running.http, token, tenants), _calls(running.http, token, ())
    )

    async def all_active() -> bool:
        return all(call.tenant in activated for call in starts)

    await until(all_active)
    return Round(
        [_ms(call.due, call.answered) for call in lookups],
        [_ms(call.due, call.answered) for call in starts],
        [_ms(call.due, activated[call.tenant]) for call in starts],
    )


async def _calls(url: str, token: str, tenants: Sequence[UUID]) -> list[Call]:
    """Run a caller: it looks `tenants` up, or provisions new ones where there are none."""
    command = (sys.executable, "-m", "tests.benchmarks.http", url, token, *map(str, tenants))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0, "a caller failed; it said why"
    return msgspec.json.decode(said, type=list[Call])


def _call(url: str, token: str, tenants: Sequence[UUID]) -> None:
    """Call for some seconds, evenly, and print what was seen."""
    where = urlsplit(url)
    edge = http.client.HTTPConnection(where.netloc, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    pause = 1 / (LOOKUPS if tenants else STARTS)
    calls: list[Call] = []
    began = time.time()
    while (due := began + len(calls) * pause) < began + SECONDS:
        tenant = tenants[len(calls) % len(tenants)] if tenants else uuid4()
        time.sleep(max(0.0, due - time.time()))
        if tenants:
            edge.request("GET", f"/api/v1/tenants/{tenant}", headers=headers)
        else:
            edge.request("POST", "/api/v1/tenants", msgspec.json.encode(_new(tenant)), headers)
        answer = edge.getresponse()
        answer.read()
        calls.append(Call(tenant, due, time.time()))
        assert answer.status == (200 if tenants else 202), answer.status
    sys.stdout.buffer.write(msgspec.json.encode(calls))


def _new(tenant: UUID) -> dict[str, Any]:
    admin = {"email": "ada@example.com", "name": "Ada"}
    return {"tenant_id": tenant, "name": "Acme", "subdomain": f"t-{tenant.hex}", "admin": admin}


def _ms(since: float, until: float) -> float:
    return (until - since) * 1000


def _p99(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


if __name__ == "__main__":
    _call(sys.argv[1], sys.argv[2], [UUID(each) for each in sys.argv[3:]])
