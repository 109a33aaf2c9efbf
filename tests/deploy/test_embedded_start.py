"""Starting and stopping the embedded stack: its folder, its ports, its doors."""

import asyncio
import json
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import structlog

from deploy.embedded import EmbeddedError, EmbeddedStack, nats, ports, postgres, process
from deploy.embedded.datafolder import DataFolder
from tests.support.processes import appears, is_alive, processes_on
from tests.support.servers import SharedStack, nats_refuses, recall, remember

MOMENTS = ["embedded.json", "postgres/data/PG_VERSION", "postgres/data/postmaster.pid"]
"""What a first start makes, one after the other."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("plain", id="plain"),
        pytest.param("with spaces, 'quotes\" and größe $x", id="with spaces, quotes and non-ASCII letters"),
        pytest.param("/".join(["a-long-name" * 8] * 7), id="longer than a socket's path may be"),
    ],
)
async def test_a_second_start_finds_the_data_and_the_ports_of_the_first(data_dir: Path, name: str) -> None:
    folder = data_dir / name
    async with EmbeddedStack(folder) as stack:
        first = stack.endpoints
        await remember(first)
    assert not is_alive(first.nats_pid)
    assert not is_alive(first.postgres_pid)

    async with EmbeddedStack(folder) as stack:
        second = stack.endpoints
        assert (second.nats_url, second.postgres_url) == (first.nats_url, first.postgres_url)
        assert await recall(second) == ("kept", b"kept")


async def test_a_stack_can_be_started_again_after_it_was_stopped(warm_dir: Path) -> None:
    stack = EmbeddedStack(warm_dir)
    first = await stack.start()
    with pytest.raises(EmbeddedError, match="started already"):
        await stack.start()
    await stack.stop()
    await stack.stop()
    with pytest.raises(EmbeddedError, match="not running"):
        _ = stack.endpoints
    assert (await stack.start()).nats_url == first.nats_url
    await stack.stop()


async def test_wished_ports_are_used_and_kept(warm_dir: Path, free_ports: tuple[int, int]) -> None:
    wished_nats, wished_postgres = free_ports
    async with EmbeddedStack(warm_dir, nats_port=wished_nats, postgres_port=wished_postgres):
        pass
    async with EmbeddedStack(warm_dir) as stack:
        assert stack.endpoints.nats_url.endswith(f"@127.0.0.1:{wished_nats}")
        assert stack.endpoints.postgres_url.endswith(f"@127.0.0.1:{wished_postgres}/tenants")


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_a_taken_port_is_named_with_what_to_do_and_nothing_runs(data_dir: Path, server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=rf"port {port} .*{server}.* is taken.*choose another"):
            await EmbeddedStack(data_dir, **{f"{server}_port": port}).start()
    assert not (data_dir / "postgres" / "data").exists()


async def test_two_servers_cannot_share_a_port(data_dir: Path, free_ports: tuple[int, int]) -> None:
    with pytest.raises(EmbeddedError, match="cannot share"):
        await EmbeddedStack(data_dir, nats_port=free_ports[0], postgres_port=free_ports[0]).start()


@pytest.mark.parametrize("server", ["nats", "postgres"])
async def test_a_stranger_that_answers_on_our_port_is_told_from_our_server(
    stack: SharedStack, data_dir: Path, server: str
) -> None:
    strangers = DataFolder(data_dir).remember()
    port = urlsplit(stack.nats_url if server == "nats" else stack.endpoints.postgres_url).port or 0
    memory = replace(strangers, nats_port=port, postgres_port=port)
    folder = DataFolder(data_dir)
    programs = {
        "nats": nats.program(folder, memory, None, "always", {}),
        "postgres": postgres.program(folder, memory, None, 10.0),
    }
    with pytest.raises(EmbeddedError, match=f"listens on port {port} does not know our password"):
        await programs[server].check()


@pytest.fixture
def free_ports() -> tuple[int, int]:
    """Ports that no outgoing connection gets meanwhile."""
    one = other = ports.choose()
    while other == one:
        other = ports.choose()
    return one, other


async def test_a_free_port_lost_to_a_quicker_process_is_replaced_by_another(
    warm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as quicker:
        lost = quicker.getsockname()[1]
        choices = iter([lost])
        choose = ports.choose
        monkeypatch.setattr(ports, "choose", lambda: next(choices, None) or choose())
        async with EmbeddedStack(warm_dir) as stack:
            assert f":{lost}" not in stack.endpoints.nats_url
            await remember(stack.endpoints)


async def test_a_second_start_on_a_folder_in_use_is_refused_naming_the_holder(warm_dir: Path) -> None:
    async with EmbeddedStack(warm_dir) as stack:
        with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}.*choose another"):
            await EmbeddedStack(warm_dir).start()
        await remember(stack.endpoints)


@pytest.mark.parametrize(
    "moment", ["embedded.json", "postgres/data/PG_VERSION", "postgres/data/postmaster.pid"]
)
async def test_stop_during_a_start_leaves_nothing_running(data_dir: Path, moment: str) -> None:
    stack = EmbeddedStack(data_dir)
    starting = asyncio.create_task(stack.start())
    await appears(data_dir / moment)
    await stack.stop()
    with pytest.raises(EmbeddedError, match="stopped while it started"):
        await starting
    assert not processes_on(data_dir)
    async with stack:
        await remember(stack.endpoints)


async def test_a_cancelled_start_leaves_nothing_running(data_dir: Path) -> None:
    starting = asyncio.create_task(EmbeddedStack(data_dir).start())
    await appears(data_dir / "postgres" / "data" / "PG_VERSION")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not processes_on(data_dir)


async def test_the_doors_are_on_loopback_only_and_none_is_left_open(stack: SharedStack) -> None:
    endpoints = stack.endpoints
    listening = {
        (connection.laddr.ip, name)
        for name, pid in (("nats", endpoints.nats_pid), ("postgres", endpoints.postgres_pid))
        for connection in psutil.Process(pid).net_connections("all")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", "nats"), ("127.0.0.1", "postgres")}


async def test_nobody_gets_into_postgres_without_the_password(stack: SharedStack) -> None:
    url = stack.endpoints.postgres_url
    password = urlsplit(url).password or ""
    for wrong in (
        url.replace(password, "guess"),
        url.replace(f":{password}", ""),
        url.replace("service", "admin"),
        url.replace("service", "postgres"),
    ):
        with pytest.raises(psycopg.OperationalError, match=r"authentication failed|no password supplied"):
            await psycopg.AsyncConnection.connect(wrong)


async def test_nobody_gets_into_nats_without_the_password(stack: SharedStack) -> None:
    password = urlsplit(stack.nats_url).password or ""
    for wrong in (
        stack.nats_url.replace(password, "guess"),
        stack.nats_url.replace(f"service:{password}@", ""),
        stack.nats_url.replace("service", "system"),
    ):
        assert await nats_refuses(wrong)
    assert not await nats_refuses(stack.nats_url)


async def test_the_service_may_create_roles_and_schemas_but_is_no_superuser(
    postgres_url: str,
) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        rights = await connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        )
        assert await rights.fetchone() == (False, True, True)
        await connection.execute("CREATE SCHEMA t_1")
        await connection.execute("CREATE ROLE t_1 LOGIN PASSWORD 'x'")
        await connection.execute("GRANT USAGE ON SCHEMA t_1 TO t_1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("COPY (SELECT 1) TO PROGRAM 'cat'")


async def test_postgres_never_trades_durability_for_speed(postgres_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        rows = await connection.execute(
            "SELECT name, setting FROM pg_settings"
            " WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums')"
        )
        assert set(await rows.fetchall()) == {
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("data_checksums", "on"),
        }


async def test_a_nats_server_that_would_not_sync_every_message_is_refused(
    warm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = nats.configuration

    def lazily(*given: Any) -> dict[str, Any]:
        content = configured(*given)
        content["jetstream"]["sync_interval"] = "2m"
        return content

    monkeypatch.setattr(nats, "configuration", lazily)
    with pytest.raises(EmbeddedError, match="does not sync every message"):
        await EmbeddedStack(warm_dir).start()
    assert not processes_on(warm_dir)


async def test_syncing_now_and_then_can_be_asked_for(warm_dir: Path) -> None:
    async with EmbeddedStack(warm_dir, sync_interval="10s") as stack:
        await remember(stack.endpoints)


async def test_passwords_are_in_files_of_one_user_alone_and_in_no_log(data_dir: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        async with EmbeddedStack(data_dir) as stack:
            await remember(stack.endpoints)
            await nats_refuses(stack.endpoints.nats_url.replace("service:", "service:not"))
            await stack.kill("nats")
            shown = repr(stack.endpoints)
    memory = json.loads((data_dir / "embedded.json").read_text())
    passwords = [value for name, value in memory.items() if name.endswith("password")]
    assert len(set(passwords)) == 4
    with_password = files_with(data_dir, passwords)
    assert {file.name for file in with_password} == {"embedded.json", "nats.conf"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in with_password} == {0o600}
    assert not any(word in f"{lines} {shown}" for word in passwords)


def files_with(folder: Path, words: list[str]) -> list[Path]:
    files = [file for file in folder.rglob("*") if file.is_file() and "base" not in file.parts]
    return [file for file in files if any(word.encode() in file.read_bytes() for word in words)]


async def test_every_folder_has_passwords_of_its_own(data_dir: Path) -> None:
    memories = [DataFolder(data_dir / name).remember() for name in ("one", "other")]
    assert postgres.url(memories[0]) != postgres.url(memories[1])


async def test_a_database_whose_passwords_are_lost_is_not_thrown_away(warm_dir: Path) -> None:
    (warm_dir / "embedded.json").unlink()
    with pytest.raises(EmbeddedError, match=r"embedded\.json with its passwords is gone"):
        await EmbeddedStack(warm_dir).start()
    assert (warm_dir / "postgres" / "data" / "PG_VERSION").exists()


async def test_a_damaged_memory_is_reported_without_its_content(warm_dir: Path) -> None:
    (warm_dir / "embedded.json").write_text('{"nats_password": "s3cret"')
    with pytest.raises(EmbeddedError, match="is damaged") as refused:
        await EmbeddedStack(warm_dir).start()
    assert "s3cret" not in str(refused.value)


async def test_a_path_that_postgres_would_cut_is_refused(data_dir: Path) -> None:
    with pytest.raises(EmbeddedError, match="too long a path"):
        await EmbeddedStack(data_dir / "/".join(["x" * 200] * 5)).start()


async def test_a_file_in_place_of_a_folder_is_refused() -> None:
    not_a_folder = Path(__file__)
    with pytest.raises(EmbeddedError, match=f"cannot use {not_a_folder}"):
        await EmbeddedStack(not_a_folder / "data").start()


async def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(warm_dir: Path) -> None:
    control = warm_dir / "postgres" / "data" / "global" / "pg_control"
    control.write_bytes(bytes(8192))
    with pytest.raises(
        EmbeddedError, match=r"(?s)postgres ended with status 1 .* ends with:.*incompatible with server"
    ):
        await EmbeddedStack(warm_dir).start()
    assert not processes_on(warm_dir)


def failing(name: str) -> Path:
    return Path("/bin/false")


async def test_a_database_that_cannot_be_made_is_reported_and_made_by_the_next_start(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(postgres, "executable", failing)
        with pytest.raises(EmbeddedError, match="initdb ended with status 1"):
            await EmbeddedStack(data_dir).start()
    async with EmbeddedStack(data_dir) as stack:
        await remember(stack.endpoints)


async def test_a_long_server_log_is_set_aside(warm_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_LIMIT", 1)
    async with EmbeddedStack(warm_dir):
        pass
    assert {"nats.log", "nats.old.log", "postgres.old.log"} <= set(os.listdir(warm_dir / "logs"))
