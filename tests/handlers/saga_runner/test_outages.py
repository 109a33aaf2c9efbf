"""Servers and workers die in the middle of plan changes and of tenants' ends, and again while others recover.

Each run is stopped at a point of its own, in real processes on real servers: before or after its effect, on
its way forward, on its way back, and in each step of a termination.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import pytest

from deploy.embedded import EmbeddedStack
from tenant_domain.operation.state import OperationStatus
from tenant_domain.values import Status
from tests.handlers.saga_runner.ending import certificate, check_by_hand, living, terminate
from tests.handlers.saga_runner.faults import Point
from tests.handlers.saga_runner.house import House, house_at
from tests.handlers.saga_runner.test_crashes import completed_once
from tests.handlers.saga_runner.test_upgrade import DOWN, UP, Moving, moving
from tests.support.processes import Restarts
from tests.support.waiting import within

FORWARD: Sequence[Point] = (("before", "keep_backup"), ("before", "release_backup"))
BACK: Sequence[Point] = (("before", "drop_backup"), ("after", "restore_backup"))
ENDINGS: Sequence[Point] = (
    ("after", "preserve_data"),
    ("after", "remove_belongings"),
    ("before", "delete_securely"),
    ("after", "delete_securely"),
)


class Stopped(NamedTuple):
    """A tenant whose run stops at a point, after it failed for good before an effect (None: it does not)."""

    tenant_id: UUID
    point: Point
    failing: str | None = None


@pytest.fixture
async def own_house(own_stack: EmbeddedStack, tmp_path: Path) -> AsyncIterator[House]:
    at = own_stack.endpoints
    async with house_at(at.postgres_url, at.nats_url, tmp_path / "objects") as house:
        yield house


@asynccontextmanager
async def worker(house: House, stack: EmbeddedStack, runs: list[Stopped]) -> AsyncGenerator[Process]:
    """Run a worker in a process that stops each of the runs at its point; killed in the end."""
    script = {str(run.tenant_id): (run.point, run.failing) for run in runs}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.handlers.saga_runner.lone_worker"),
        *(stack.endpoints.postgres_url, stack.endpoints.nats_url, str(house.objects), house.subjects.prefix),
        json.dumps(script),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def stop(process: Process, runs: list[Stopped]) -> None:
    """Wait until all of the runs have come to their points."""
    assert process.stdout is not None
    missing = {str(run.tenant_id) for run in runs}
    async with within("the worker to stop where it is told to"):
        while missing:
            line = await process.stdout.readline()
            assert line, f"the worker ended, and has not stopped {missing}"
            missing.discard(line.decode().strip())


async def restart(stack: EmbeddedStack, restarts: Restarts, *signals: signal.Signals) -> None:
    """End PostgreSQL and NATS by these signals, and wait until both are back."""
    pids = (stack.endpoints.postgres_pid, stack.endpoints.nats_pid)
    for pid, number in zip(pids, signals, strict=True):
        os.kill(pid, number)
    for _ in pids:
        await restarts.get()


async def recovered(house: House, stack: EmbeddedStack, restarts: Restarts, runs: list[Stopped]) -> None:
    """Let a second worker die, and both servers with it; a third one outlives a clean restart of both."""
    async with worker(house, stack, runs) as second:
        await stop(second, runs)
        await restart(stack, restarts, signal.SIGKILL, signal.SIGKILL)
    async with worker(house, stack, runs) as third:
        await stop(third, runs)
        await restart(stack, restarts, signal.SIGINT, signal.SIGTERM)
        assert third.stdin is not None
        third.stdin.write(b"go on\n")
        await house.quiet()


async def test_plan_changes_end_well_or_leave_the_tenant_what_it_was(
    own_house: House, own_stack: EmbeddedStack, restarts: Restarts
):
    house = own_house
    tenants = await moving(house, UP, DOWN, UP, DOWN)
    forward = [Stopped(each.tenant_id, point) for each, point in zip(tenants, FORWARD, strict=False)]
    back = [
        Stopped(each.tenant_id, point, "verify_plan") for each, point in zip(tenants[2:], BACK, strict=True)
    ]
    runs = [*forward, *back]
    async with worker(house, own_stack, runs) as first:
        for tenant in tenants[:-1]:
            await tenant.ask()
        await stop(first, runs[:-1])
        await tenants[-1].ask()  # it stops in a transaction that others would share
        await stop(first, runs[-1:])
    await recovered(house, own_stack, restarts, runs)
    for tenant in tenants:
        await _ended_well(tenant, rolled_back=tenant in tenants[2:])


async def _ended_well(tenant: Moving, *, rolled_back: bool) -> None:
    status = (await tenant.end()).status
    assert status is (OperationStatus.ROLLED_BACK if rolled_back else OperationStatus.SUCCEEDED)
    assert await (tenant.is_what_it_was() if rolled_back else tenant.is_on_the_other_plan())
    await completed_once(tenant.house, tenant.tenant_id)


async def test_terminations_end_with_nothing_left_but_a_certificate(
    own_house: House, own_stack: EmbeddedStack, restarts: Restarts
):
    house = own_house
    house.objects.mkdir()
    async with house.working():
        runs = [Stopped(await living(house), point) for point in ENDINGS]
    async with worker(house, own_stack, runs) as first:
        ending = [await terminate(house, run.tenant_id) for run in runs]
        await stop(first, runs)
    await recovered(house, own_stack, restarts, runs)
    for run, operation_id in zip(runs, ending, strict=True):
        assert (await house.operation(operation_id)).status is OperationStatus.SUCCEEDED, run.point
        assert (await house.tenant(run.tenant_id)).status is Status.DELETED
        assert await house.remains(run.tenant_id) == set(), run.point
        check_by_hand(await certificate(house, run.tenant_id))
        await completed_once(house, run.tenant_id)
