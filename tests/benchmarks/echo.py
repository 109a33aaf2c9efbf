"""A responder that answers each request with its own body: the least that a round trip costs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import nats
import uvloop
from nats.aio.msg import Msg

SUBJECT = "bench.echo"


@asynccontextmanager
async def responder(nats_url: str) -> AsyncGenerator[int]:
    """Run one in a process of its own; gives its id."""
    command = (sys.executable, "-m", "tests.benchmarks.echo", nats_url)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


async def _respond(nats_url: str) -> None:
    nc = await nats.connect(nats_url)

    async def answer(message: Msg) -> None:
        await nc.publish(message.reply, message.data)

    await nc.subscribe(SUBJECT, cb=answer)
    await nc.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_respond(sys.argv[1]))
