"""An engine that ends for a defect ends its process, with a line in the log and an exit code."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NoReturn

import pytest
from structlog.testing import capture_logs

from deploy.embedded import EmbeddedStack
from handlers.adapters.tasks import end, watched
from handlers.bootstrap.serving import EngineFailed, serve
from handlers.relay.dead_letters import DeadLetterRelay
from handlers.settings import Settings
from tests.support.waiting import PATIENCE, within


async def test_a_process_ends_when_one_of_its_engines_has_a_defect(
    own_stack: EmbeddedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = Settings.model_validate(
        {
            "nats_url": own_stack.endpoints.nats_url,
            "postgres_url": own_stack.endpoints.postgres_url,
            "master_key_file": tmp_path / "master.key",
            "create_keys": True,
        }
    )

    async def fail(_: DeadLetterRelay) -> NoReturn:
        raise TypeError("as planned")

    monkeypatch.setattr(DeadLetterRelay, "run", fail)

    def ready(_: dict[str, Any]) -> None: ...

    with capture_logs() as logs, pytest.raises(EngineFailed, match="relay of dead letters"):
        async with within("the end of a process with a defect"):
            await serve(settings, ("relay",), ready)
    asyncio.get_running_loop().set_exception_handler(None)
    assert [entry["engine"] for entry in logs if entry["log_level"] == "error"] == ["relay of dead letters"]


async def test_a_watched_task_that_is_told_to_end_has_no_defect():
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    await end(watched(asyncio.sleep(PATIENCE), "sleeper"))
    await asyncio.sleep(0)
    loop.set_exception_handler(None)
    assert told == []
