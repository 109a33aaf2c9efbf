"""A supervisor that dies takes its servers with it; whatever is left, the next start goes on from it."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from deploy.embedded import EmbeddedError, EmbeddedStack, launch, leftovers, postgres, process
from deploy.embedded.datafolder import DataFolder
from tests.support.processes import appears, gone, processes_on
from tests.support.servers import recall, remember
from tests.support.supervisors import ROOT, Supervisor

SHARING = """
import os, pathlib, signal, sys, time
from deploy.embedded.datafolder import DataFolder

DataFolder(pathlib.Path(sys.argv[1])).acquire()
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.3)
"""
"""A holder of a data folder that is killed while a child of it is not yet another program."""


@pytest.mark.parametrize("options", [(), ("uvloop",)], ids=["asyncio", "uvloop"])
async def test_the_servers_die_with_their_killed_supervisor(warm_dir: Path, options: tuple[str, ...]) -> None:
    async with Supervisor(warm_dir, *options) as supervisor:
        before = await supervisor.ready()
        await remember(before)
        supervisor.process.kill()
        await gone(before.nats_pid)
        await gone(before.postgres_pid)
    await recalled_by_the_next_start(warm_dir)


async def test_a_start_goes_on_after_everything_was_killed_at_once(warm_dir: Path) -> None:
    async with Supervisor(warm_dir) as supervisor:
        before = await supervisor.ready()
        await remember(before)
        children = process.children(before.postgres_pid)
        for pid in (supervisor.process.pid, before.postgres_pid, *children, before.nats_pid):
            with contextlib.suppress(ProcessLookupError):  # it was quicker than we
                os.kill(pid, signal.SIGKILL)
    await recalled_by_the_next_start(warm_dir)


@pytest.mark.parametrize(
    "moment", ["embedded.json", "postgres/data/PG_VERSION", "postgres/data/postmaster.pid"]
)
async def test_a_first_start_killed_at_any_moment_is_followed_by_another(data_dir: Path, moment: str) -> None:
    async with Supervisor(data_dir) as supervisor:
        await appears(data_dir / moment)
        supervisor.process.kill()
    async with EmbeddedStack(data_dir) as stack:
        await remember(stack.endpoints)


async def test_a_lock_that_a_child_shares_with_its_killed_holder_is_waited_for(tmp_path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", SHARING, str(tmp_path), cwd=ROOT)
    assert await holder.wait() == -signal.SIGKILL
    folder = DataFolder(tmp_path)
    folder.acquire()
    folder.release()


async def test_servers_that_outlived_their_supervisor_are_ended_before_new_ones_start(warm_dir: Path) -> None:
    async with Supervisor(warm_dir, "survivors") as supervisor:
        before = await supervisor.ready()
        await remember(before)
        supervisor.process.kill()
        await supervisor.process.wait()
        assert len(processes_on(warm_dir)) >= 2

        async with EmbeddedStack(warm_dir) as stack:
            await gone(before.nats_pid)
            await gone(before.postgres_pid)
            assert await recall(stack.endpoints) == ("kept", b"kept")
            after = stack.endpoints
    assert (after.nats_url, after.postgres_url) == (before.nats_url, before.postgres_url)


async def test_servers_frozen_when_their_supervisor_died_are_ended_too(warm_dir: Path) -> None:
    async with Supervisor(warm_dir, "survivors") as supervisor:
        before = await supervisor.ready()
        await remember(before)
        for pid in (before.postgres_pid, *process.children(before.postgres_pid), before.nats_pid):
            os.kill(pid, signal.SIGSTOP)
        supervisor.process.kill()
        await supervisor.process.wait()
        await recalled_by_the_next_start(warm_dir)


async def recalled_by_the_next_start(folder: Path) -> None:
    async with EmbeddedStack(folder) as stack:
        assert await recall(stack.endpoints) == ("kept", b"kept")


async def test_a_second_server_cannot_run_on_the_store_of_a_running_one(
    own_stack: EmbeddedStack, warm_dir: Path
) -> None:
    folder = DataFolder(warm_dir).nats
    second = process.launch(
        ("/bin/false",),
        folder=folder,
        log=warm_dir / "logs" / "second.log",
        account=None,
        death_signal=signal.SIGKILL,
        lock=folder / leftovers.LOCK,
    )
    assert await process.ended(second) == launch.LOCKED
    await remember(own_stack.endpoints)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
async def test_a_supervisor_told_to_stop_stops_its_servers_cleanly(
    warm_dir: Path, stop: signal.Signals
) -> None:
    async with Supervisor(warm_dir) as supervisor:
        endpoints = await supervisor.ready()
        for pid in (endpoints.nats_pid, endpoints.postgres_pid):
            assert os.getpgid(pid) == pid  # so a terminal's Ctrl-C is not for the servers
        # As a terminal does it: to the whole process group.
        os.killpg(supervisor.process.pid, stop)
        await supervisor.process.wait()
        assert not processes_on(warm_dir)
    log = (warm_dir / "logs" / "postgres.log").read_text()
    assert log.rstrip().endswith("database system is shut down")


async def test_a_folder_held_by_another_process_is_refused_with_its_number(warm_dir: Path) -> None:
    async with Supervisor(warm_dir) as supervisor:
        await supervisor.ready()
        with pytest.raises(EmbeddedError, match=f"in use by process {supervisor.process.pid}"):
            await EmbeddedStack(warm_dir).start()


async def test_a_stale_pid_file_naming_a_living_process_is_no_obstacle(warm_dir: Path) -> None:
    pid_file = warm_dir / "postgres" / "data" / "postmaster.pid"
    owner = pid_file.parent.stat()
    as_owner = owner.st_uid if os.geteuid() == 0 else None
    bystander = await asyncio.create_subprocess_exec("sleep", "600", user=as_owner)
    pid_file.write_text(f"{bystander.pid}\n{pid_file.parent}\n")
    async with EmbeddedStack(warm_dir) as stack:
        await remember(stack.endpoints)
    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


async def test_a_postgres_started_by_hand_on_our_data_is_left_alone_and_named(
    own_stack: EmbeddedStack, warm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without our lock, a running server of ours looks like one that somebody else has started.
    by_hand = own_stack.endpoints.postgres_pid
    data = warm_dir / "postgres" / "data"
    with pytest.raises(EmbeddedError, match=f"process {by_hand}, which is not ours, runs PostgreSQL on"):
        postgres.remove_stale_pid(data)
    await remember(own_stack.endpoints)
