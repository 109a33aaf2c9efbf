"""Turns: no tenant's many runs delay anybody else's, and costly steps have bounds of their own."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from handlers.adapters.effects import Output, Work
from handlers.saga_runner.agenda import Agenda, Due
from handlers.saga_runner.worker import Limits
from handlers.settings import STEP_LIMITS
from tenant_domain.operation.state import OperationStatus
from tenant_domain.tenant.commands import Suspend
from tests.handlers.saga_runner.faults import Faults, Pause
from tests.handlers.saga_runner.house import House
from tests.support.waiting import soon

FLOOD = 10_000


class Queue:
    """An agenda with waiting runs of several tenants, and a worker that takes them."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.agenda = Agenda(house.postgres_url, timedelta(seconds=60))
        self.owner = uuid4()

    async def wait(self, tenant_id: UUID, runs: int, ago: float) -> None:
        """Let `runs` of a tenant wait since `ago` seconds."""
        await self._house.sql(
            "INSERT INTO service.saga_agenda (operation_id, tenant_id, kind, due_at)"
            " SELECT gen_random_uuid(), %s, 'monitoring', now() - make_interval(secs => %s)"
            " FROM generate_series(1, %s)",
            tenant_id,
            ago,
            runs,
        )

    async def take(self, limit: int, per_tenant: int = 1000) -> list[Due]:
        """Take runs as a worker does."""
        return await self.agenda.take(self.owner, datetime.now(UTC), limit, per_tenant)


async def test_a_tenant_with_ten_thousand_waiting_runs_delays_nobody(house: House):
    queue, flood, others = Queue(house), uuid4(), [uuid4() for _ in range(5)]
    await queue.agenda.register(queue.owner)
    await queue.wait(flood, FLOOD, ago=3600)
    for other in others:
        await queue.wait(other, 2, ago=1)
    first = Counter(due.tenant_id for due in await queue.take(6))
    assert first == Counter({flood: 1, **dict.fromkeys(others, 1)})
    second = Counter(due.tenant_id for due in await queue.take(6))
    assert second == Counter({flood: 1, **dict.fromkeys(others, 1)})
    assert Counter(due.tenant_id for due in await queue.take(50)) == {flood: 50}
    await queue.agenda.close()


async def test_a_tenant_has_no_more_runs_at_work_than_allowed(house: House):
    queue, flood, other = Queue(house), uuid4(), uuid4()
    await queue.agenda.register(queue.owner)
    await queue.wait(flood, 20, ago=60)
    await queue.wait(other, 1, ago=1)
    assert Counter(due.tenant_id for due in await queue.take(64, per_tenant=3)) == {flood: 3, other: 1}
    assert await queue.take(64, per_tenant=3) == []
    assert len(await queue.take(64, per_tenant=5)) == 2
    await queue.agenda.close()


async def test_two_workers_never_take_the_same_run(house: House):
    queues = [Queue(house) for _ in range(4)]
    await queues[0].wait(uuid4(), 200, ago=60)
    for queue in queues:
        await queue.agenda.register(queue.owner)
    taken = await asyncio.gather(*(queue.take(40) for queue in queues for _ in range(3)))
    runs = [due.operation_id for dues in taken for due in dues]
    assert len(runs) == len(set(runs))
    for queue in queues:
        await queue.agenda.close()


async def test_runs_that_wait_for_their_turn_at_a_step_keep_nobody_from_other_steps(house: House):
    async with house.working():
        tenant_id, operation_id = await house.provision()
        await house.finished(operation_id)
    pauses = [Pause() for _ in range(4)]
    faults = Faults(house.effects)
    faults.plan(("before", "create_bucket"), *pauses)
    runs = [await house.provision() for _ in range(4)]
    limits = Limits(concurrency=2, poll=0.05, steps={"create_schema": 1})
    async with house.working(effects=faults.effects(), limits=limits):
        await soon(pauses[0].reached.wait())
        suspension = await house.ask(tenant_id, Suspend(reason="unpaid"))
        assert suspension is not None
        assert (await house.finished(suspension)).status is OperationStatus.SUCCEEDED
        for number, pause in enumerate(pauses):
            await soon(pause.reached.wait())
            assert not any(later.reached.is_set() for later in pauses[number + 1 :])
            pause.released.set()
        for _, operation_id in runs:
            assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED


async def test_steps_that_open_connections_open_no_more_than_their_limits_say(house: House):
    most = STEP_LIMITS["close_access"]
    at_once: list[int] = []

    async def counted(work: Work) -> Output | None:
        counts[0] += 1
        at_once.append(counts[0])
        try:
            return await house.effects["close_access"](work)
        finally:
            counts[0] -= 1

    counts = [0]
    async with house.working():
        runs = [await house.provision() for _ in range(3 * most)]
        for _, operation_id in runs:
            await house.finished(operation_id)
    asked = [await house.ask(tenant_id, Suspend(reason="unpaid")) for tenant_id, _ in runs]
    limits = Limits(steps=STEP_LIMITS)
    async with house.working(effects={**house.effects, "close_access": counted}, limits=limits):
        for operation_id in filter(None, asked):
            assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED
    assert len(at_once) == 3 * most
    assert max(at_once) == most
