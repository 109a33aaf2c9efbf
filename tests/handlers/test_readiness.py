"""Whether a process is ready: by what it needs of real servers, and by its own engines."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from prometheus_client import Counter

from deploy.embedded import EmbeddedStack
from deploy.embedded import postgres as embedded_postgres
from deploy.embedded.datafolder import DataFolder
from handlers.adapters.beats import Beats
from handlers.bootstrap.health import health_of
from handlers.bootstrap.process import Process, connected
from handlers.bootstrap.side_port import SidePort
from handlers.http_edge.health import Down, Health, Report
from handlers.settings import Settings
from tests.support.waiting import PATIENCE, within


@asynccontextmanager
async def a_process(stack: EmbeddedStack, keys: Path) -> AsyncGenerator[tuple[Process, Health]]:
    """Connect a process without roles; its health is asked anew each time."""
    settings = Settings.model_validate(
        {
            "nats_url": stack.endpoints.nats_url,
            "postgres_url": stack.endpoints.postgres_url,
            "master_key_file": keys / "master.key",
            "create_keys": True,
        }
    )
    async with connected(settings) as process, AsyncExitStack() as started:
        health = health_of(process, started)
        health._fresh = -1.0  # pyright: ignore[reportPrivateUsage]
        yield process, health


async def until(health: Health, holds: Callable[[Report], bool]) -> Report:
    """Ask until the report is as wanted."""
    async with within("a report as wanted"):
        while not holds(report := await health.report()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    return report


async def test_a_process_is_ready_when_both_servers_do_what_it_needs(
    own_stack: EmbeddedStack, tmp_path: Path
):
    async with a_process(own_stack, tmp_path) as (_, health):
        report = await until(health, lambda report: report.well)
    assert report.parts == dict.fromkeys(("postgres", "nats", "engines"), "ok")


@pytest.mark.parametrize("server", ["postgres", "nats"])
async def test_a_server_that_says_nothing_is_down_until_it_speaks(
    own_stack: EmbeddedStack, tmp_path: Path, server: Literal["postgres", "nats"]
):
    async with a_process(own_stack, tmp_path) as (_, health):
        await until(health, lambda report: report.well)
        own_stack.pause(server)
        try:
            assert (await health.report()).parts[server] == "down"
        finally:
            own_stack.resume(server)
        await until(health, lambda report: report.well)


async def test_a_database_that_takes_no_writes_is_down(
    own_stack: EmbeddedStack, warm_dir: Path, tmp_path: Path
):
    admin_url = embedded_postgres.admin_url(DataFolder(warm_dir).remember())
    async with (
        a_process(own_stack, tmp_path) as (_, health),
        await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as admin,
    ):
        await until(health, lambda report: report.well)
        await admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await admin.execute("SELECT pg_reload_conf()")
        report = await until(health, lambda report: not report.well)
        assert report.reasons == {"postgres": "it is read-only"}
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await admin.execute("SELECT pg_reload_conf()")
        await until(health, lambda report: report.well)


@pytest.mark.parametrize("missing", ["TENANT_COMMANDS", "TENANT_EVENTS", "KV_TENANT_CONTEXT"])
async def test_a_stream_that_is_missing_is_named(own_stack: EmbeddedStack, tmp_path: Path, missing: str):
    async with a_process(own_stack, tmp_path) as (process, health):
        await until(health, lambda report: report.well)
        await process.nc.jetstream(timeout=PATIENCE).delete_stream(missing)
        assert (await health.report()).reasons == {"nats": f"missing: {missing}"}
        await process.declare()
        await until(health, lambda report: report.well)


async def test_an_engine_that_stands_still_is_named(own_stack: EmbeddedStack, tmp_path: Path):
    now = 100.0
    async with a_process(own_stack, tmp_path) as (process, health):
        await until(health, lambda report: report.well)
        process.beats = Beats(lambda: now)
        projector, executor = process.beats.engine("projector"), process.beats.engine("executor")
        executor.rest()
        now += process.settings.standstill_after + 1.0
        assert (await health.report()).reasons == {"engines": "projector stands still for 16 s"}
        projector.well()
        assert (await health.report()).well


async def test_probes_that_run_at_once_share_one_connection(own_stack: EmbeddedStack, tmp_path: Path):
    async with (
        a_process(own_stack, tmp_path) as (_, health),
        await psycopg.AsyncConnection.connect(own_stack.endpoints.postgres_url, autocommit=True) as looking,
    ):
        for _ in range(5):
            await asyncio.gather(*(health.report() for _ in range(20)))
        found = await looking.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tenants-health'"
        )
        assert await found.fetchone() == (1,)


def asked(port: int, path: str) -> tuple[int, Any]:
    """Ask the side port, as orchestration does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


async def test_a_process_without_the_edge_tells_its_health_beside_its_metrics():
    async def standing() -> None:
        raise Down("relay of events stands still for 20 s")

    counted = Counter("tenants_asked_at_the_side", "Counts in a test.")
    counted.inc()
    side = SidePort("127.0.0.1", 0)
    try:
        status, body = await asyncio.to_thread(asked, side.port, "/health/ready")
        assert (status, json.loads(body)["reasons"]) == (503, {"process": "it is starting"})
        side.health = Health({"engines": standing})
        status, body = await asyncio.to_thread(asked, side.port, "/health/ready")
        assert (status, json.loads(body)["reasons"]) == (
            503,
            {"engines": "relay of events stands still for 20 s"},
        )
        assert await asyncio.to_thread(asked, side.port, "/health/live") == (
            200,
            '{"status": "ok", "parts": {}}',
        )
        status, body = await asyncio.to_thread(asked, side.port, "/metrics")
        assert (status, "tenants_asked_at_the_side_total 1.0" in body) == (200, True)
        side.health = Health({})
        assert (await asyncio.to_thread(asked, side.port, "/health/ready"))[0] == 200
    finally:
        side.close()


async def test_a_process_whose_loop_does_not_turn_does_not_live():
    side = SidePort("127.0.0.1", 0)
    try:
        status, body = asked(side.port, "/health/live")  # in the loop's own thread: it stands meanwhile
    finally:
        side.close()
    assert (status, json.loads(body)["reasons"]) == (503, {"process": "its event loop does not turn"})
