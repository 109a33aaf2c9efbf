"""Checks: each one looks at what came of the demo and says what it found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, LiteralString, NamedTuple

import psycopg
from nats.aio.client import Client

from deploy.demo.board import Board
from deploy.demo.traffic import Answered, query


class Check(NamedTuple):
    """One thing that had to come true, and what was seen."""

    what: str
    passed: bool
    seen: str


def as_expected(answers: Sequence[Answered], board: Board) -> Check:
    """Every sample came to what it expects."""
    wrong = [answered for answered in answers if not _fits(answered, board)]
    seen = "; ".join(
        f"{answered.sample.command} ({answered.sample.note or answered.sample.tenant_id}): "
        f"expected {answered.sample.expect}, got {answered.problem or answered.outcome['status']}"
        for answered in wrong[:3]
    )
    return Check(f"all {len(answers)} messages came to what was expected", not wrong, seen or "they did")


def _fits(answered: Answered, board: Board) -> bool:
    expect, tenant_id = answered.sample.expect, answered.sample.tenant_id
    if expect.startswith("rejected:"):
        return answered.problem == expect.removeprefix("rejected:")
    if answered.problem is not None:
        return False
    match expect:
        case "active":
            return board.seen(tenant_id, "tenant.activated") == 1
        case "failed":
            return board.seen(tenant_id, "tenant.provisioning_failed") == 1
        case "changed":
            return answered.sample.body["plan"] in board.plans(tenant_id)
        case "kept":
            return board.seen(tenant_id, "tenant.plan_change_rolled_back") == 1
        case _:
            return answered.outcome["status"] == "completed"


def repeated_alike(answers: Sequence[Answered], repeats: Sequence[Answered]) -> Check:
    """A repeated command was answered byte for byte as the first time."""
    first = {answered.sample.headers.get("Command-Id"): answered.raw for answered in answers}
    alike = [answered.raw == first.get(answered.sample.headers.get("Command-Id")) for answered in repeats]
    return Check(
        "a repeated command gets the same answer, byte for byte",
        bool(alike) and all(alike),
        f"{sum(alike)} of {len(alike)} repeats alike, through both doors",
    )


def dead_letters(rejected_durably: int, count: int) -> Check:
    """Every refused durable command is a dead letter."""
    return Check(
        "nothing is lost: every refused durable command is a dead letter",
        count == rejected_durably,
        f"{count} dead letters, {rejected_durably} refused",
    )


async def nothing_left(nc: Client, postgres_url: str, objects: Path, tenant_id: str, subdomain: str) -> Check:
    """The failed tenant left no schema, role, bucket or claim behind."""
    hexed = tenant_id.replace("-", "")
    left: list[str] = []
    async with await psycopg.AsyncConnection.connect(postgres_url) as connection:
        if await _exists(connection, "SELECT 1 FROM pg_namespace WHERE nspname = %s", f"t_{hexed}"):
            left.append("its schema")
        if await _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", f"t_{hexed}"):
            left.append("its role")
    names = await asyncio.to_thread(lambda: [path.name for path in objects.rglob("*")])
    if any(tenant_id in name or hexed in name for name in names):
        left.append("its bucket")
    claim = await query(nc, "fleet", "by_subdomain", subdomain=subdomain)
    if claim.get("type") != "/problems/tenant-not-found":
        left.append("its subdomain")
    seen = (
        "left behind: " + ", ".join(left) if left else "no schema, no role, no bucket, the subdomain is free"
    )
    return Check("the failed tenant left nothing behind", not left, seen)


async def _exists(connection: psycopg.AsyncConnection[Any], statement: LiteralString, name: str) -> bool:
    return await (await connection.execute(statement, (name,))).fetchone() is not None


async def read_models_agree(nc: Client, board: Board) -> Check:
    """The read model of all tenants says what the events said."""
    rows: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = {"cursor": cursor} if cursor else {}
        answer = await query(
            nc, "fleet", "tenants", limit=50, min_position=board.position, timeout_ms=10_000, **page
        )
        rows += answer["items"]
        cursor = answer.get("next_cursor")
        if not cursor:
            break
    told = {tenant_id: line.status for tenant_id, line in board.lines.items() if line.status}
    kept = {row["tenant_id"]: row["status"] for row in rows}
    return Check("the read models equal what the events say", told == kept, f"{len(kept)} tenants in both")


def as_it_was(history: Sequence[dict[str, Any]], then: dict[str, Any], now: dict[str, Any]) -> Check:
    """A tenant can be seen as it was at an earlier version."""
    passed = then["name"] != now["name"] and then["version"] < now["version"] and len(history) > 10
    seen = f"version {then['version']}: {then['name']!r}; version {now['version']}: {now['name']!r}"
    return Check("a tenant is shown as it was earlier", passed, seen)
