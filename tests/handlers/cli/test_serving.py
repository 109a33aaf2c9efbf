"""`tenantctl serve` where nothing answers: what it says, from its first second on, and what ends it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from deploy.embedded import EmbeddedStack
from tests.handlers.cli.conftest import ROOT
from tests.support.proxy import Proxy
from tests.support.servers import SharedStack
from tests.support.waiting import PATIENCE

NOWHERE = {
    "TENANTS_NATS_URL": "nats://u:geheim@127.0.0.1:1",
    "TENANTS_POSTGRES_URL": "postgresql://u:geheim@127.0.0.1:1/tenants",
    "TENANTS_CREATE_KEYS": "true",
    "TENANTS_UNAVAILABLE_AFTER": "300",  # none of these tests waits for so long: there is nothing to end
}
ROLE = ("--role", "relay")


@contextmanager
def serving(
    folder: Path, *words: str, ignored: str = "", **settings: str
) -> Generator[subprocess.Popen[str]]:
    """A `tenantctl serve` that was started with a signal ignored, as a background job is, or by nohup.

    All other signals to stop are as at a terminal, however this test run was started.
    """
    environment = {**os.environ, **NOWHERE, "TENANTS_MASTER_KEY_FILE": str(folder / "master.key"), **settings}

    def dispose() -> None:
        for name in ("INT", "TERM", "HUP"):
            number = signal.Signals[f"SIG{name}"]
            signal.signal(number, signal.SIG_IGN if name == ignored else signal.SIG_DFL)

    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.tenantctl", "serve", *words],
        preexec_fn=dispose,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], words: str) -> dict[str, Any]:
    """Return the first line of its log with these words."""
    assert process.stderr is not None
    while line := process.stderr.readline():
        if words in line:
            return json.loads(line)
    raise AssertionError(f"it ended without {words!r}")


def test_given_no_server_when_it_starts_then_it_says_what_it_waits_for_and_where(tmp_path: Path) -> None:
    with serving(tmp_path, *ROLE) as process:
        said = until(process, "waiting_for")
        assert said["waiting_for"] == "a connection to PostgreSQL"
        assert said["server"] == "postgresql://127.0.0.1:1/tenants"
        assert said["role"] == "relay"
        assert isinstance(said["process"], int)
        process.terminate()
        _, rest = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert all(json.loads(line)["version"] for line in rest.splitlines())
    assert "geheim" not in rest + str(said)


@pytest.mark.parametrize(
    ("ignored", "sent"),
    [
        ("", signal.SIGTERM),
        ("", signal.SIGINT),
        ("", signal.SIGHUP),
        ("INT", signal.SIGINT),
        ("TERM", signal.SIGTERM),
    ],
)
def test_a_signal_to_stop_stops_it_also_where_the_shell_had_it_ignored(
    tmp_path: Path, ignored: str, sent: signal.Signals
) -> None:
    with serving(tmp_path, *ROLE, ignored=ignored) as process:
        until(process, "waiting_for")
        process.send_signal(sent)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_under_nohup_it_outlives_its_terminal(tmp_path: Path) -> None:
    with serving(tmp_path, *ROLE, ignored="HUP") as process:
        until(process, "waiting_for")
        process.send_signal(signal.SIGHUP)
        for _ in range(3):
            until(process, "waiting_for")  # it goes on
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"TENANTS_PARTITIONS": "many"}, "TENANTS_PARTITIONS"),
        ({"TENANTS_CREATE_KEYS": "false", "TENANTS_MASTER_KEY_FILE": "/none"}, "/none"),
    ],
)
def test_what_it_cannot_run_with_is_its_last_line_as_json(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    with serving(tmp_path, *ROLE, **settings) as process:
        _, said = process.communicate(timeout=PATIENCE)
    last = json.loads(said.splitlines()[-1])
    assert process.returncode == 2
    assert words in last["event"]
    assert (last["level"], last["problem"]) == ("error", "misuse")


@pytest.mark.parametrize(
    ("given", "helps"),
    [
        ("CREATEROLE", "GRANT CREATE ON DATABASE {database} TO {role};"),
        ("NOCREATEROLE", "ALTER ROLE {role} CREATEROLE;"),
    ],
)
async def test_given_a_role_without_a_right_when_it_starts_then_it_ends_with_the_statement_that_helps(
    tmp_path: Path, stack: SharedStack, postgres_url: str, given: str, helps: str
) -> None:
    at = urlsplit(postgres_url)
    role, database = f"poor_{uuid4().hex[:8]}", at.path.removeprefix("/")
    url = at._replace(netloc=f"{role}:geheim@{at.hostname}:{at.port}").geturl()
    async with await psycopg.AsyncConnection.connect(
        urlsplit(stack.admin_url)._replace(path=at.path).geturl(), autocommit=True
    ) as admin:
        await admin.execute(f"CREATE ROLE {role} LOGIN {given} PASSWORD 'geheim'".encode())
        await admin.execute(f"GRANT CONNECT ON DATABASE {database} TO {role}".encode())
        if given == "NOCREATEROLE":
            await admin.execute(f"GRANT CREATE ON DATABASE {database} TO {role}".encode())
        try:
            with serving(tmp_path, *ROLE, TENANTS_POSTGRES_URL=url) as process:
                _, said = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        finally:
            await admin.execute(f"DROP OWNED BY {role}".encode())
            await admin.execute(f"DROP ROLE {role}".encode())
    last = json.loads(said.splitlines()[-1])
    assert (process.returncode, last["problem"]) == (2, "misuse")
    assert helps.format(role=role, database=database) in last["event"]
    assert "Traceback" not in said
    assert "geheim" not in said


@pytest.mark.parametrize("server", ["NATS_URL", "POSTGRES_URL"])
@pytest.mark.parametrize("silent", [False, True])
async def test_given_a_server_that_is_away_when_it_is_told_to_stop_then_it_stops_well(
    tmp_path: Path, own_stack: EmbeddedStack, server: str, silent: bool
) -> None:
    at = own_stack.endpoints
    urls = {"NATS_URL": at.nats_url, "POSTGRES_URL": at.postgres_url}
    async with Proxy(urls[server]) as proxy:
        urls[server] = proxy.url
        given = {f"TENANTS_{name}": url for name, url in urls.items()}
        keys = {f"TENANTS_{name}_KEY_FILE": str(tmp_path / name) for name in ("SIGNING", "CERTIFICATE")}
        with serving(
            tmp_path, **given, **keys, TENANTS_HTTP_PORT="0", TENANTS_UNAVAILABLE_AFTER="2"
        ) as process:
            await asyncio.to_thread(until, process, '"ready"')
            proxy.hush() if silent else await proxy.down()
            process.terminate()
            _, said = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert (process.returncode, "Traceback" in said) == (0, False), said
