"""Servers that die while they run come back on their ports; servers that freeze go on."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
import pytest
from nats.aio.client import Client

from deploy.embedded import EmbeddedError, EmbeddedStack, leftovers, ports, postgres, process, supervisor
from deploy.embedded.datafolder import DataFolder, make_folders
from deploy.embedded.process import ServerName
from tests.support.processes import Restarts, appears, command_line, gone, is_alive, processes_on
from tests.support.servers import recall, remember
from tests.support.waiting import until, within

SERVERS: list[ServerName] = ["nats", "postgres"]


@pytest.mark.parametrize("server", SERVERS)
async def test_a_killed_server_comes_back_on_its_port_with_its_data(
    own_stack: EmbeddedStack, restarts: Restarts, server: ServerName
) -> None:
    before = own_stack.endpoints
    await remember(before)

    await own_stack.kill(server)

    assert await restarts.get() == server
    after = own_stack.endpoints
    assert (after.nats_url, after.postgres_url) == (before.nats_url, before.postgres_url)
    assert (after.nats_pid == before.nats_pid) == (server == "postgres")
    assert (after.postgres_pid == before.postgres_pid) == (server == "nats")
    assert await recall(after) == ("kept", b"kept")


@pytest.mark.parametrize("server", SERVERS)
async def test_a_server_that_ends_by_itself_comes_back_again_and_again(
    own_stack: EmbeddedStack, restarts: Restarts, server: ServerName
) -> None:
    for _ in range(3):
        endpoints = own_stack.endpoints
        os.kill(endpoints.nats_pid if server == "nats" else endpoints.postgres_pid, signal.SIGTERM)
        assert await restarts.get() == server
    await remember(own_stack.endpoints)


async def test_servers_killed_together_come_back_together(
    own_stack: EmbeddedStack, restarts: Restarts
) -> None:
    await remember(own_stack.endpoints)
    await asyncio.gather(own_stack.kill("nats"), own_stack.kill("postgres"))
    assert {await restarts.get(), await restarts.get()} == {"nats", "postgres"}
    assert await recall(own_stack.endpoints) == ("kept", b"kept")


async def test_a_busy_child_of_a_killed_postmaster_does_not_keep_postgres_down(
    own_stack: EmbeddedStack, restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await psycopg.AsyncConnection.connect(own_stack.endpoints.postgres_url) as connection:
        backend = connection.info.backend_pid
        # Frozen, it neither notices that its parent is dead nor lets go of the shared memory.
        os.kill(backend, signal.SIGSTOP)
        await own_stack.kill("postgres")
        assert await restarts.get() == "postgres"
        await gone(backend)
    await remember(own_stack.endpoints)


async def test_a_port_taken_while_its_server_was_down_is_waited_for(
    warm_dir: Path, restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = asyncio.Event()
    async with EmbeddedStack(warm_dir, on_restart=restarts.put_nowait) as stack:
        with monkeypatch.context() as patch:

            def is_free(port: int) -> bool:
                taken.set()
                return False

            patch.setattr(ports, "is_free", is_free)
            await stack.kill("nats")
            await taken.wait()
            assert restarts.empty()
        assert await restarts.get() == "nats"
        await remember(stack.endpoints)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_stop_is_complete_while_a_server_is_being_restarted(
    warm_dir: Path, server: ServerName
) -> None:
    stack = EmbeddedStack(warm_dir)
    await stack.start()
    await stack.kill(server)
    await stack.stop()
    assert not processes_on(warm_dir)


async def test_a_server_that_dies_at_once_is_restarted_ever_more_slowly(
    warm_dir: Path, restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def impatient(seconds: float) -> None:
        pauses.append(seconds)
        await sleep(0)

    async with EmbeddedStack(warm_dir, on_restart=restarts.put_nowait) as stack:
        monkeypatch.setattr(supervisor, "sleep", impatient)
        monkeypatch.setattr(supervisor, "_CALM", 600.0)  # however slow this machine is: all of it is at once
        for _ in range(4):
            await stack.kill("nats")
            await restarts.get()
    assert pauses == [0.0, 0.1, 0.2, 0.4]


async def test_a_frozen_nats_server_keeps_its_clients_waiting(
    own_stack: EmbeddedStack,
) -> None:
    client = Client()
    await client.connect(own_stack.endpoints.nats_url)
    own_stack.pause("nats")
    answer = asyncio.create_task(client.flush())
    assert await state_of(own_stack.endpoints.nats_pid) == "T"
    assert not answer.done()
    own_stack.resume("nats")
    await answer
    await client.close()


async def test_a_frozen_postgres_keeps_also_its_open_connections_waiting(own_stack: EmbeddedStack) -> None:
    async with await psycopg.AsyncConnection.connect(own_stack.endpoints.postgres_url) as connection:
        own_stack.pause("postgres")
        assert await state_of(own_stack.endpoints.postgres_pid) == "T"
        assert await state_of(connection.info.backend_pid) == "T"
        answer = asyncio.create_task(connection.execute("SELECT 1"))
        own_stack.resume("postgres")
        assert await (await answer).fetchone() == (1,)


async def state_of(pid: int) -> str:
    """Return the state of a process once it has taken the signals sent to it."""
    async with within("a process that is stopped"):
        while True:
            with open(f"/proc/{pid}/stat") as status:  # noqa: ASYNC230 - not a file on a disk
                state = status.read().rpartition(")")[2].split()[0]
            if state == "T":
                return state
            await asyncio.sleep(0)


@pytest.mark.parametrize("server", SERVERS)
async def test_frozen_servers_are_stopped_like_others(warm_dir: Path, server: ServerName) -> None:
    stack = EmbeddedStack(warm_dir)
    await stack.start()
    stack.pause(server)
    await stack.stop()
    assert not processes_on(warm_dir)


async def test_a_server_whose_children_come_and_go_is_frozen_and_goes_on(data_dir: Path) -> None:
    server = shell_server(
        data_dir, "touch up; while :; do /bin/true & /bin/true; done", check=lambda: appears(data_dir / "up")
    )
    await server.start()
    pid = server.pid
    for _ in range(200):
        server.resume()
        server.pause()
    server.resume()
    await server.stop()
    assert not is_alive(pid)


def test_children_are_counted_while_threads_come_and_go() -> None:
    churn = (
        "import _thread; print(flush=True)\nwhile True: [_thread.start_new_thread(int, ()) for _ in range(9)]"
    )
    command = [sys.executable, "-c", churn]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as restless:
        assert restless.stdout is not None
        restless.stdout.readline()
        try:
            for _ in range(150):
                assert process.children(restless.pid) == []
            assert restless.poll() is None
        finally:
            restless.kill()


RECOVERY = "automatic recovery in progress"


def frozen_checkpointer(stack: EmbeddedStack) -> int:
    """Freeze the process that makes checkpoints, as a disk that is slow does; return its id."""
    pids = process.children(stack.endpoints.postgres_pid)
    [checkpointer] = [pid for pid in pids if "checkpointer" in command_line(pid)]
    os.kill(checkpointer, signal.SIGSTOP)
    return checkpointer


async def somebody_waits_for_a_checkpoint(data_dir: Path) -> None:
    url = postgres.admin_url(DataFolder(data_dir).remember())
    waits = "SELECT FROM pg_stat_activity WHERE wait_event LIKE 'Checkpoint%' AND state = 'active'"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:

        async def one_waits() -> bool:
            return (await connection.execute(waits)).rowcount > 0

        await until(one_waits, "a session that waits for a checkpoint")


def stay_frozen(_: process.Server) -> None:
    """In the place of a resume: what the test freezes is for it to thaw."""


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_stop_has_the_time_for_a_checkpoint_unless_it_is_to_end_at_once(
    warm_dir: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    monkeypatch.setattr(process, "STOP_LIMIT", 0.1)
    monkeypatch.setattr(process.Server, "resume", stay_frozen)
    stack = EmbeddedStack(warm_dir)
    await remember(await stack.start())
    checkpointer = frozen_checkpointer(stack)
    stopping = asyncio.create_task(stack.stop())
    await somebody_waits_for_a_checkpoint(warm_dir)
    if at_once:
        hurried = asyncio.create_task(stack.stop(at_once=True))
        await asyncio.sleep(0)
        os.kill(checkpointer, signal.SIGCONT)
        await hurried
    else:
        os.kill(checkpointer, signal.SIGCONT)
    await stopping
    async with EmbeddedStack(warm_dir) as again:
        assert await recall(again.endpoints) == ("kept", b"kept")
    said = (warm_dir / "logs" / "postgres.log").read_text()
    assert (RECOVERY in said) == at_once


def deaf_server(folder: Path, check: Callable[[], Awaitable[None]]) -> process.Server:
    """Return a server that ignores every polite signal and, once it does, has a file `deaf`."""
    return shell_server(folder, "trap '' TERM; touch deaf; while :; do sleep 60; done", check)


def shell_server(folder: Path, script: str, check: Callable[[], Awaitable[None]]) -> process.Server:
    """Return a server that is a shell script, run in `folder`."""
    make_folders(folder)
    return process.Server(
        process.Program(
            name="nats",
            command=("/bin/sh", "-c", script),
            folder=folder,
            log=folder / "log",
            port=ports.choose(),
            account=None,
            stop_signals=(signal.SIGTERM,),
            death_signal=signal.SIGKILL,
            prepare=lambda: None,
            check=check,
        )
    )


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Supervision that gives a server hardly any time."""
    for module, limit in ((process, "STOP_LIMIT"), (process, "START_LIMIT"), (leftovers, "PATIENCE")):
        monkeypatch.setattr(module, limit, 0.01)


@pytest.mark.usefixtures("no_patience")
async def test_a_server_that_will_not_stop_is_killed_with_its_children(data_dir: Path) -> None:
    server = deaf_server(data_dir, check=lambda: appears(data_dir / "deaf"))
    await server.start()
    family = [server.pid, *process.children(server.pid)]
    await server.stop()
    assert not any(is_alive(pid) for pid in family)


@pytest.mark.usefixtures("no_patience")
async def test_a_server_that_never_answers_is_given_up_and_ended_before_the_next_try(data_dir: Path) -> None:
    async def check() -> None:
        await appears(data_dir / "deaf")
        raise process.NotReadyError("still silent")

    server = deaf_server(data_dir, check)
    pids: list[int] = []
    for _ in range(2):
        with pytest.raises(EmbeddedError, match=r"nats does not answer \(still silent\)"):
            await server.start()
        pids.append(server.pid)
    assert [is_alive(pid) for pid in pids] == [False, True]
    await server.stop()
    assert [is_alive(pid) for pid in pids] == [False, False]


async def test_a_server_is_awaited_also_where_there_are_no_process_descriptors(
    own_stack: EmbeddedStack, restarts: Restarts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(pid: int) -> int:
        raise OSError("function not implemented")

    monkeypatch.setattr(os, "pidfd_open", unknown)
    for _ in range(2):
        await own_stack.kill("nats")
        assert await restarts.get() == "nats"
