"""Ours: a saga of the same six steps, on the machinery that drives the service's own."""

from __future__ import annotations

import asyncio
from functools import partial

from handlers.adapters.effects import Effects, Work
from sagas.definition import Deed, Saga, Step
from sagas.provisioning import PROVISIONING

TABLE = """
CREATE TABLE IF NOT EXISTS peer_effects (
    id bigserial PRIMARY KEY, saga text NOT NULL, step int NOT NULL, name text NOT NULL)"""
"""What a step inserts into, on every engine: without a key, so that steps done twice show."""

PAUSE = 0.02
"""Seconds that a step takes before its insert, where the saga is to pause."""

INSERT = "INSERT INTO peer_effects (saga, step, name) VALUES (%s, %s, %s)"
_SCHEMA = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.settings (key text PRIMARY KEY, value jsonb);
CREATE TABLE {schema}.users (id bigserial PRIMARY KEY, email text UNIQUE)"""
_CREATES, _ACTIVATES = PROVISIONING.steps[1], PROVISIONING.steps[-1]


def six_steps(*, schema: bool, pause: bool) -> Saga:
    """Return the saga; with `schema` its second step makes one, with `pause` each waits before its insert."""

    def step(original: Step) -> Step:
        return Step(
            original.name,
            outside=Deed("pause") if pause else None,
            inside=Deed(original.name),
            facts=original.facts if original is _ACTIVATES else Step("").facts,
            heavy=schema and original is _CREATES,
            blind=not (schema and original is _CREATES),
        )

    return PROVISIONING._replace(steps=tuple(map(step, PROVISIONING.steps)))


def effects(*, schema: bool) -> Effects:
    """Return what the steps do."""

    async def insert(work: Work, number: int, name: str) -> None:
        saga = str(work.operation.operation_id)
        if schema and name == _CREATES.name:
            made = _SCHEMA.format(schema=f"p_{work.tenant_id.hex}")
            await work.transaction.execute(made.encode())
        await work.transaction.execute(INSERT, (saga, number, name))

    async def pause(_: Work) -> None:
        await asyncio.sleep(PAUSE)

    inserts = {
        step.name: partial(insert, number=number, name=step.name)
        for number, step in enumerate(PROVISIONING.steps)
    }
    return {**inserts, "pause": pause}
