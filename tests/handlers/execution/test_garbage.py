"""What is left of commands when they are settled: nothing that only the garbage collector could find."""

import asyncio
import gc
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from handlers.execution.attempt import Attempt, Stream
from handlers.execution.executor import Executor
from handlers.execution.job import Job, Origin, Slice
from handlers.execution.reply import Reply
from handlers.execution.verdict import Verdict
from tests.handlers.execution.commands import provision, rename

OURS = (Attempt, Job, Slice, Stream, Verdict)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_a_batch_goes_without_the_garbage_collector(executor: Executor, store_url: str) -> None:
    owner, tenant = uuid4(), uuid4()
    async with await psycopg.AsyncConnection.connect(store_url, autocommit=True) as connection:
        await connection.execute(
            "UPDATE service.command_progress SET owner = %s WHERE partition = 0", (owner,)
        )

    replies: list[Reply] = []
    repeated = rename(tenant, "Acme & Sons")
    commands = [provision(tenant), repeated, repeated, rename(uuid4(), "Nobody")]
    jobs = [
        Job(replies.append, request=each, origin=Origin("S", number, 0, str(tenant), "s", {}, b""))
        for number, each in enumerate(commands, 1)
    ]
    settled = await executor.settle(0, owner, 0, jobs)
    await asyncio.gather(*(executor.execute(each) for each in (repeated, rename(tenant, "Acme"))))

    assert len(replies) == len(commands)
    assert settled.sequence == len(commands)
    del settled, jobs
    assert [type(each).__name__ for each in gc.get_objects() if isinstance(each, OURS)] == []
