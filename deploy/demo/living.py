"""Operations on tenants that live: each is asked for, and shown step by step as its events come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import psycopg

from deploy.demo import report
from deploy.demo.checks import Check
from deploy.demo.samples import Sample
from deploy.demo.traffic import Answered
from handlers.adapters.plan_state import hashed, packed, read
from handlers.adapters.schemas import schema_of

if TYPE_CHECKING:
    from deploy.demo.run import Demo

ENDED_WITHIN = 60.0
"""Seconds in which an operation must have ended."""

_ENDS = frozenset(f"operation.{end}" for end in ("succeeded", "rolled_back", "cancelled", "parked"))

_TRAP = """
CREATE FUNCTION {}.keep_limits() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF NEW.key = ''quotas'' THEN NEW.value := OLD.value; END IF; RETURN NEW; END';
CREATE TRIGGER keep_limits BEFORE UPDATE ON {}.settings FOR EACH ROW EXECUTE FUNCTION {}.keep_limits();
"""


class Followed(NamedTuple):
    """A sample that was followed to its end, and the hash of the tenant's schema before and after."""

    answered: Answered
    before: str
    after: str


async def show(demo: Demo, samples: Sequence[Sample]) -> list[Followed]:
    """Send samples one after the other, and show what comes of each until its operation has ended."""
    followed: list[Followed] = []
    for sample in samples:
        report.title(demo.console, f"{demo.board.lines[sample.tenant_id].name} {sample.note}")
        if sample.expect == "kept":
            await _set_trap(demo, sample.tenant_id)
        before = await _hash(demo, sample.tenant_id)
        answered = await _follow(demo, sample)
        followed.append(Followed(answered, before, await _hash(demo, sample.tenant_id)))
    return followed


def unchanged(followed: Sequence[Followed]) -> Check:
    """Whoever kept the old plan is bit for bit what it was; whoever moved is not."""
    kept = [each for each in followed if each.answered.sample.expect == "kept"]
    moved = [each for each in followed if each.answered.sample.expect == "changed"]
    passed = all(each.before == each.after for each in kept) and all(
        each.before != each.after for each in moved
    )
    seen = ", ".join(f"{each.before[:12]} before, {each.after[:12]} after" for each in kept)
    return Check("a rolled back upgrade leaves schema and settings as they were", passed and bool(kept), seen)


async def _follow(demo: Demo, sample: Sample) -> Answered:
    shown = len(demo.board.journal)
    [answered] = await demo.sender.all([sample])
    ended = answered.outcome.get("operation_id") is None
    async with asyncio.timeout(ENDED_WITHIN):
        while not ended:
            for tenant_id, name, data in demo.board.journal[shown:]:
                shown += 1
                if tenant_id == sample.tenant_id:
                    report.fact(demo.console, name, data)
                    ended = ended or name in _ENDS
            await asyncio.sleep(0.01)
    return answered


async def _set_trap(demo: Demo, tenant_id: str) -> None:
    """Leave something in the tenant's schema that an upgrade does not expect."""
    async with await psycopg.AsyncConnection.connect(demo.addresses.postgres, autocommit=True) as connection:
        await connection.execute(_TRAP.replace("{}", schema_of(UUID(tenant_id))).encode())


async def _hash(demo: Demo, tenant_id: str) -> str:
    async with await psycopg.AsyncConnection.connect(demo.addresses.postgres) as connection:
        return hashed(packed(await read(connection, UUID(tenant_id))))
