"""A worker in a process of its own, for tests that kill it: POSTGRES_URL NATS_URL OBJECTS PREFIX."""

import asyncio
import sys
from pathlib import Path

from handlers.saga_runner.worker import Limits
from handlers.wire.subjects import Subjects
from tests.handlers.saga_runner.house import house_at


async def main(postgres_url: str, nats_url: str, objects: str, prefix: str) -> None:
    async with house_at(postgres_url, nats_url, Path(objects)) as house:
        house.subjects = Subjects(prefix)
        async with house.working(limits=Limits(lease=0.5, poll=0.05, concurrency=4)):
            await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
