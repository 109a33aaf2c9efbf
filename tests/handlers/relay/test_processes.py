"""Relays in processes of their own, paused and killed, and servers that go away under them."""

import asyncio
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.embedded import EmbeddedStack
from handlers.store.event_store import EventStore
from tests.handlers.relay.relays import a_relay, assert_mirrors, last_sequence, reached, running
from tests.support.bus import Bus
from tests.support.log import facts
from tests.support.waiting import within


@asynccontextmanager
async def relay_process(bus: Bus, nats_url: str, postgres_url: str) -> AsyncGenerator[Process]:
    module = "tests.handlers.relay.relays"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        nats_url,
        postgres_url,
        bus.subjects.prefix,
        *bus.streams,
        stdout=PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with within("a process that is ready"):
            while await process.stdout.readline() != b"ready\n":
                assert process.returncode is None
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def commit(store: EventStore, batches: int, size: int = 50) -> None:
    for _ in range(batches):
        await store.append(facts(size))


async def test_two_processes_and_a_zombie_neither_repeat_nor_reorder_nor_lose(
    bus: Bus, store: EventStore, store_url: str, nats_url: str
) -> None:
    """One is frozen in the middle of its work, the other takes over, the first wakes up; one is killed."""
    async with (
        relay_process(bus, nats_url, store_url) as first,
        relay_process(bus, nats_url, store_url) as second,
    ):
        writing = asyncio.create_task(commit(store, 120))
        for turn in range(1, 7):
            await reached(bus, turn * 600)
            frozen, other = (first, second) if turn % 2 else (second, first)
            frozen.send_signal(signal.SIGSTOP)
            await reached(bus, turn * 600 + 300)
            frozen.send_signal(signal.SIGCONT)
            assert other.returncode is None
        await writing
        second.kill()
        await store.append(facts(10))
        await reached(bus, 6010)
    await assert_mirrors(bus, store)


async def test_nats_killed_and_restarted_in_the_middle_costs_nothing(
    own: tuple[Bus, EventStore], own_stack: EmbeddedStack, restarts: asyncio.Queue[str]
) -> None:
    bus, store = own
    async with running(a_relay(bus, store, poll=0.1), a_relay(bus, store, poll=0.1)):
        for turn in (1, 2):
            writing = asyncio.create_task(commit(store, 40))
            await reached(bus, turn * 2000 - 1500)
            await own_stack.kill("nats")
            assert await restarts.get() == "nats"
            await writing
            await reached(bus, turn * 2000)
    await assert_mirrors(bus, store)


def delete_streams(folder: Path) -> None:
    shutil.rmtree(folder / "nats" / "jetstream")


async def test_nats_whose_data_is_deleted_in_the_middle_is_filled_again(
    own: tuple[Bus, EventStore], own_stack: EmbeddedStack, warm_dir: Path, restarts: asyncio.Queue[str]
) -> None:
    bus, store = own
    async with running(a_relay(bus, store, poll=0.1), a_relay(bus, store, poll=0.1)):
        writing = asyncio.create_task(commit(store, 40))
        await reached(bus, 500)
        own_stack.pause("nats")
        await asyncio.to_thread(delete_streams, warm_dir)
        await own_stack.kill("nats")
        assert await restarts.get() == "nats"
        await writing
        await reached(bus, 2000)
    await assert_mirrors(bus, store)


async def test_a_lost_database_is_waited_for(
    own: tuple[Bus, EventStore], own_stack: EmbeddedStack, restarts: asyncio.Queue[str]
) -> None:
    bus, store = own
    async with running(a_relay(bus, store, poll=0.05)):
        await commit(store, 10)
        await reached(bus, 100)
        await own_stack.kill("postgres")
        assert await restarts.get() == "postgres"
        await commit(store, 10)
        await reached(bus, 1000)
    assert await last_sequence(bus) == 1000
    await assert_mirrors(bus, store)
