"""Whom the servers run as: an ordinary user as itself, root as somebody less."""

import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.embedded import EmbeddedError, EmbeddedStack
from deploy.embedded import account as accounts
from deploy.embedded.account import Account
from tests.support.servers import public_folder, recall, remember
from tests.support.supervisors import Supervisor, interpreter_for

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run servers as somebody else")


@pytest.fixture
def ordinary_user() -> int:
    """An unprivileged user that can run this code."""
    uid = pwd.getpwnam("nobody").pw_uid
    if not interpreter_for(uid):
        pytest.skip("the user nobody can reach no Python of this version with this checkout")
    return uid


@pytest.fixture
def users_folder(ordinary_user: int) -> Iterator[Path]:
    folder = public_folder()
    folder.chmod(0o700)
    os.chown(folder, ordinary_user, ordinary_user)
    yield folder
    shutil.rmtree(folder)


@as_root
async def test_an_ordinary_user_runs_the_servers_as_itself(users_folder: Path, ordinary_user: int) -> None:
    for _ in range(2):
        async with Supervisor(users_folder / "data", uid=ordinary_user) as supervisor:
            endpoints = await supervisor.ready()
            for pid in (endpoints.nats_pid, endpoints.postgres_pid):
                assert psutil.Process(pid).uids().effective == ordinary_user
            supervisor.process.terminate()
            await supervisor.process.wait()


@as_root
async def test_root_goes_on_from_a_users_folder_as_that_user_and_hands_it_back(
    users_folder: Path, ordinary_user: int
) -> None:
    folder = users_folder / "data"
    async with Supervisor(folder, uid=ordinary_user) as supervisor:
        await remember(await supervisor.ready())
        supervisor.process.terminate()
        await supervisor.process.wait()
    async with EmbeddedStack(folder) as stack:
        assert psutil.Process(stack.endpoints.postgres_pid).uids().effective == ordinary_user
        assert await recall(stack.endpoints) == ("kept", b"kept")
    async with Supervisor(folder, uid=ordinary_user) as supervisor:
        assert await recall(await supervisor.ready()) == ("kept", b"kept")


@as_root
async def test_root_in_a_users_private_folder_runs_the_servers_as_that_user(
    users_folder: Path, ordinary_user: int
) -> None:
    async with EmbeddedStack(users_folder / "made by root") as stack:
        assert psutil.Process(stack.endpoints.nats_pid).uids().effective == ordinary_user


@as_root
async def test_root_runs_the_servers_as_somebody_without_its_rights(own_stack: EmbeddedStack) -> None:
    for pid in (own_stack.endpoints.nats_pid, own_stack.endpoints.postgres_pid):
        server = psutil.Process(pid)
        assert server.uids().effective == server.uids().saved != 0
        assert server.gids().effective != 0
        with open(f"/proc/{pid}/status") as status:  # noqa: ASYNC230
            lines = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        account = pwd.getpwuid(server.uids().effective)
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
        assert {int(group) for group in lines["Groups"].split()} == set(groups)
        assert int(lines["CapEff"], 16) == 0


@pytest.fixture
def private_folder(data_dir: Path) -> Path:
    """A folder that only we may enter."""
    data_dir.mkdir(mode=0o700)
    return data_dir


@as_root
async def test_a_private_data_folder_lets_the_servers_pass_but_not_look(
    private_folder: Path,
) -> None:
    async with EmbeddedStack(private_folder) as stack:
        await remember(stack.endpoints)
    assert mode_of(private_folder) == 0o701


@as_root
async def test_a_folder_above_that_the_servers_cannot_enter_is_named_and_not_changed(
    private_folder: Path,
) -> None:
    with pytest.raises(EmbeddedError, match=f"cannot enter {private_folder}: choose a place"):
        await EmbeddedStack(private_folder / "data").start()
    assert mode_of(private_folder) == 0o700


@as_root
def test_programs_that_the_servers_cannot_reach_are_named(private_folder: Path) -> None:
    with pytest.raises(EmbeddedError, match=f"nobody cannot enter {private_folder}") as refused:
        accounts.for_servers(Path("/"), [private_folder])
    for name in ("postgres", "nobody"):
        known = name in {entry.pw_name for entry in pwd.getpwall()}
        assert (f"{name} cannot enter" in str(refused.value)) == known


def mode_of(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


@as_root
async def test_a_machine_without_a_suitable_account_is_told_what_to_add(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_there(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", nobody_there)
    with pytest.raises(EmbeddedError, match="none of the accounts postgres, nobody"):
        await EmbeddedStack(data_dir).start()


@pytest.mark.parametrize(
    ("mode", "who", "enters"),
    [
        (0o700, "owner", True),
        (0o077, "owner", False),
        (0o010, "group", True),
        (0o701, "group", False),
        (0o701, "other", True),
        (0o770, "other", False),
    ],
)
def test_the_folders_mode_decides_who_enters(data_dir: Path, mode: int, who: str, enters: bool) -> None:
    data_dir.mkdir()
    status = data_dir.stat()
    data_dir.chmod(mode)
    ids = {
        "owner": (status.st_uid, status.st_gid + 1),
        "group": (status.st_uid + 1, status.st_gid),
        "other": (status.st_uid + 1, status.st_gid + 1),
    }
    assert accounts.can_enter(Account("somebody", *ids[who]), data_dir) == enters
    data_dir.chmod(0o700)
