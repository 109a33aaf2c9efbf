"""The work of one step, the same on every engine, and the client that asks an engine for sagas.

A client reads one wish a line from its standard input and answers each with one line:
{"sagas": 320, "at_once": 16, "variant": "steps"} waits for them: {"wall": seconds, "latencies": [seconds]},
{"submit": 200} only starts them: {"submitted": 200}. The variants are `steps`, `lone` (the same), `schema`,
where one step makes a schema, and `upgrade`, where a verification fails and what was done is undone.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any
from uuid import uuid4

asyncpg: Any = importlib.import_module("asyncpg")

STEPS = ("validate", "create_schema", "configure_defaults", "setup_admin", "notify", "activate")
CREATES = 1
"""The step that makes a schema, where one is wanted."""

UPGRADE = ("validate_upgrade", "backup_state", "apply_changes", "verify", "drop_backup", "restore_backup")
"""The steps of an upgrade, and what undoes two of them."""
VERIFIES = 3
UNDOES = {1: 4, 2: 5}
"""Which of them fails, and which undoes which."""

INSERT = "INSERT INTO peer_effects (saga, step, name) VALUES ($1, $2, $3)"
SCHEMA = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.settings (key text PRIMARY KEY, value jsonb);
CREATE TABLE {schema}.users (id bigserial PRIMARY KEY, email text UNIQUE)"""

PAUSE = float(os.environ.get("PEER_PAUSE", "0"))
"""Seconds that a step takes before its insert, so that a kill finds many in the middle."""

One = Callable[[str, str], Awaitable[object]]
"""Starts a saga by its id and variant."""


@cache
def _making() -> asyncio.Future[Any]:
    return asyncio.ensure_future(
        asyncpg.create_pool(os.environ["PEER_POSTGRES_URL"], min_size=4, max_size=20)
    )


async def pool() -> Any:
    """Return the connections of this process, made at the first call."""
    return await asyncio.shield(_making())


async def do(saga: str, step: int, schema: bool) -> None:
    """Do a step: one small insert, and a schema with two tables where it is wanted, in one transaction."""
    if PAUSE:
        await asyncio.sleep(PAUSE)
    async with (await pool()).acquire() as connection:
        if not (schema and step == CREATES):
            await connection.execute(INSERT, saga, step, STEPS[step])
            return
        async with connection.transaction():
            try:
                await connection.execute(SCHEMA.format(schema="p_" + saga.replace("-", "")))
            except asyncpg.DuplicateSchemaError:
                return  # done before, and not yet recorded when the worker died
            await connection.execute(INSERT, saga, step, STEPS[step])


async def do_upgrade(saga: str, step: int) -> bool:
    """Do or undo a step of an upgrade, by one small insert; returns whether the tenant is as it should be."""
    async with (await pool()).acquire() as connection:
        await connection.execute(INSERT, saga, step, UPGRADE[step])
    return step != VERIFIES


async def serve(run: One, start: One) -> None:
    """Serve wishes until the input ends; `run` waits for a saga's end, `start` does not."""
    loop = asyncio.get_running_loop()
    print(json.dumps({"ready": True}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        wish = json.loads(line)
        if "submit" in wish:
            for _ in range(wish["submit"]):
                await start(str(uuid4()), "steps")
            answer = {"submitted": wish["submit"]}
        else:
            answer = await _many(run, wish["sagas"], wish["at_once"], wish["variant"])
        print(json.dumps(answer), flush=True)


async def _many(run: One, sagas: int, at_once: int, variant: str) -> dict[str, Any]:
    latencies: list[float] = []
    left = iter(range(sagas))

    async def lane() -> None:
        for _ in left:
            began = time.perf_counter()
            await run(str(uuid4()), variant)
            latencies.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(at_once)))
    return {"wall": time.perf_counter() - began, "latencies": latencies}
