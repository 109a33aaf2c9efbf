"""Service processes of the development stack: told when they fail, started again, ended."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from deploy import processes
from deploy.embedded import EmbeddedStack
from deploy.processes import ProcessFailed, ServiceProcess
from tests.support.processes import is_alive
from tests.support.waiting import until

OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()"""


@asynccontextmanager
async def relay(servers: EmbeddedStack, settings: Path) -> AsyncGenerator[ServiceProcess]:
    """Run a process with the role `relay`, whose other settings stand in a file."""
    environment = {
        "TENANTS_NATS_URL": servers.endpoints.nats_url,
        "TENANTS_POSTGRES_URL": servers.endpoints.postgres_url,
        "TENANTS_MASTER_KEY_FILE": str(settings.with_name("master.key")),
        "TENANTS_CREATE_KEYS": "true",
        "TENANTS_LOG_LEVEL": "error",
        "TENANTS_ENV_FILE": str(settings),
    }
    process = ServiceProcess("relay", ("relay",), environment)
    assert (await process.start())["ready"] == ["relay"]
    try:
        yield process
    finally:
        await process.stop()


async def is_connected(ours: psycopg.AsyncConnection) -> bool:
    """Whether anybody but us has a connection to the database."""
    await ours.rollback()  # what is seen of others does not change within a transaction
    row = await (await ours.execute(OTHERS)).fetchone()
    return row is not None and row[0] > 0


async def test_a_process_that_dies_is_started_again_until_it_runs(
    own_stack: EmbeddedStack, tmp_path: Path
) -> None:
    settings = tmp_path / "settings"
    settings.write_text("TENANTS_POOL_SIZE=4\n")
    async with relay(own_stack, settings) as process:
        first = process.pid
        settings.write_text("TENANTS_POOL_SIZE=none\n")
        with capture_logs() as lines:

            async def has_failed() -> bool:
                return any(line["event"] == "process did not start" for line in lines)

            os.kill(first, signal.SIGKILL)
            await until(has_failed)
        settings.write_text("TENANTS_POOL_SIZE=4\n")
        async with await psycopg.AsyncConnection.connect(own_stack.endpoints.postgres_url) as ours:
            await until(lambda: is_connected(ours))
    (died,) = [line for line in lines if line["event"] == "process died, starting it again"]
    assert died["exit_code"] == -signal.SIGKILL
    assert not is_alive(process.pid)


async def test_a_process_that_does_not_end_by_itself_is_killed(
    own_stack: EmbeddedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_WITHIN", 0.1)
    settings = tmp_path / "settings"
    settings.touch()
    async with relay(own_stack, settings) as process:
        os.kill(process.pid, signal.SIGSTOP)
    assert not is_alive(process.pid)


async def test_a_process_that_cannot_run_says_so() -> None:
    process = ServiceProcess("relay", ("relay",), {"TENANTS_POOL_SIZE": "none"})
    with pytest.raises(ProcessFailed, match="relay ended with exit code 2 before it was ready"):
        await process.start()
    await process.stop()


async def test_a_process_that_is_silent_for_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "READY_WITHIN", 0.1)
    process = ServiceProcess("relay", ("relay",), {"TENANTS_NATS_URL": "nats://127.0.0.1:1"})
    with pytest.raises(ProcessFailed, match="relay was not ready within 0"):
        await process.start()
    assert not is_alive(process.pid)
