"""Plans: what a change of a tenant's plan does to its schema, from the check to the way back.

The backup stands in the tenant's own bucket, so that it goes wherever the tenant's data goes. Its hash stands
in the journal: a backup that was changed since is not used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
import obstore
from obstore.exceptions import BaseError
from psycopg import AsyncConnection

from handlers.adapters import plan_state
from handlers.adapters.effects import EffectFailed, Output, PermanentlyFailed, Work
from handlers.adapters.objects import Buckets
from handlers.adapters.plan_state import PlanState, Thing
from handlers.adapters.schemas import PLAN_TABLES, Connect, write_settings
from tenant_domain.catalogue import Plan, leaving, shortfalls
from tenant_domain.values import Json, same_json

BACKUP_STEP = "backup_state"
VERIFY_STEP = "verify"

_MOST = 20
"""Most differences that are told."""


def backup_path(operation_id: UUID) -> str:
    """Return where the backup of a plan change stands in the tenant's bucket."""
    return f"service/backups/{operation_id}.json"


class Plans:
    """The effects of a plan change. `connect` gives a connection of its own, in autocommit."""

    def __init__(self, connect: Connect, buckets: Buckets) -> None:
        self._connect, self._buckets = connect, buckets

    async def check(self, work: Work) -> None:
        """Refuse a plan that cannot hold what the tenant has."""
        await _check(work.transaction, work)

    async def keep(self, work: Work) -> Output:
        """Write the backup, unless it stands there already; refuse what the plan cannot hold by now."""
        async with self._connect() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            await _check(connection, work)
            state = await plan_state.read(connection, work.tenant_id)
        raw, path = plan_state.packed(state), backup_path(work.operation.operation_id)
        async with self._bucket(work.tenant_id) as bucket:
            if await _stored(bucket, path) != raw:
                await obstore.put_async(bucket, path, raw)
        return {"object": path, "bytes": len(raw), "sha256": plan_state.hashed(raw)}

    async def drop(self, work: Work) -> None:
        """Remove the backup; one that is not there is passed over, and so is a bucket that is not."""
        if not await self._buckets.exists(work.tenant_id):
            return
        async with self._bucket(work.tenant_id) as bucket:
            try:
                await obstore.delete_async(bucket, backup_path(work.operation.operation_id))
            except FileNotFoundError:
                return

    async def release(self, work: Work) -> None:
        """Remove the backup when the change holds; one that differs from the plan still needs it."""
        if not work.operation.step(VERIFY_STEP).output.get("differences"):
            await self.drop(work)

    async def apply(self, work: Work) -> Output:
        """Give the tenant the tables, limits and flags of the plan, and take those it does not have.

        The tables that go are locked before they are looked at, so nobody's rows go with them.
        """
        connection, plan = work.transaction, _plan(work)
        use = await plan_state.measured(connection, work.tenant_id)
        await plan_state.lock(connection, work.tenant_id, leaving(plan, use.schema))
        await _check(connection, work)
        await plan_state.change_tables(connection, work.tenant_id, use.schema, plan.schema)
        await write_settings(connection, work.tenant_id, _settings(plan))
        return {"from_tables": dict(use.schema), "tables": dict(plan.schema)}

    async def restore(self, work: Work) -> None:
        """Bring the schema back to what the backup holds, bit for bit."""
        backup = await self._backup(work)
        await plan_state.write_back(work.transaction, backup)
        if await plan_state.read(work.transaction, work.tenant_id) != backup:
            raise EffectFailed("The tenant's schema differs from its backup after it was restored.")

    async def verify(self, work: Work) -> Output:
        """Return in what the live schema, limits and flags differ from what the plan says."""
        connection, plan = work.transaction, _plan(work)
        backup = await self._backup(work)
        live = await plan_state.read(connection, work.tenant_id)
        own = await plan_state.as_made(connection, work.tenant_id, plan.schema)
        rest = {thing for thing in backup.schema if thing.table not in backup.tables}
        differences = [*_settings_differ(live, backup, plan), *_schemas_differ(set(live.schema), rest | own)]
        told: list[Json] = [*differences[:_MOST]]
        return {"differences": told, "sha256": plan_state.hashed(plan_state.packed(live))}

    async def _backup(self, work: Work) -> PlanState:
        kept, path = work.operation.step(BACKUP_STEP).output, backup_path(work.operation.operation_id)
        async with self._bucket(work.tenant_id) as bucket:
            raw = await _stored(bucket, path)
        if raw is None:
            raise PermanentlyFailed(f"The backup {path} is not in the tenant's bucket.")
        if plan_state.hashed(raw) != kept.get("sha256"):
            raise PermanentlyFailed(f"The backup {path} in the tenant's bucket is not what was kept.")
        return msgspec.json.decode(raw, type=PlanState)

    @asynccontextmanager
    async def _bucket(self, tenant_id: UUID) -> AsyncGenerator[Any]:
        try:
            yield self._buckets.open(tenant_id)
        except BaseError as error:
            raise EffectFailed(
                f"The object store of TENANTS_OBJECTS_URL failed ({type(error).__name__})."
            ) from error


def _plan(work: Work) -> Plan:
    return work.policy.plans[str(work.operation.input["plan"])]


async def _check(connection: AsyncConnection[Any], work: Work) -> None:
    plan = _plan(work)
    missing = shortfalls(plan, await plan_state.measured(connection, work.tenant_id))
    if missing:
        raise PermanentlyFailed(
            f"The plan {plan.name!r} cannot hold what the tenant has: {', '.join(missing)}."
        )


async def _stored(bucket: Any, path: str) -> bytes | None:
    try:
        found = await obstore.get_async(bucket, path)
    except FileNotFoundError:
        return None
    return bytes(await found.bytes_async())


def _settings(plan: Plan) -> dict[str, Mapping[str, Json] | str]:
    return {
        "plan": plan.name,
        "quotas": dict(plan.quotas),
        "flags": dict(plan.flags),
        PLAN_TABLES: dict(plan.schema),
    }


def _settings_differ(live: PlanState, backup: PlanState, plan: Plan) -> Iterator[str]:
    expected: dict[str, Json] = {row.key: backup.setting(row.key) for row in backup.settings}
    expected |= _settings(plan)
    for key in sorted(expected.keys() | {row.key for row in live.settings}):
        found, wanted = live.setting(key), expected.get(key)
        if key in _settings(plan):
            yield from _values_differ(key, found, wanted)
        elif not same_json(found, wanted):
            yield f"the setting {key} has changed"  # what it holds is the tenant's own


def _values_differ(name: str, found: Json, wanted: Json) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        entries: set[str] = {*found, *wanted}
        for entry in sorted(entries):
            yield from _values_differ(f"{name}.{entry}", found.get(entry), wanted.get(entry))
    elif not same_json(found, wanted):
        yield f"{name} is {_json(found)}, not {_json(wanted)}"


def _json(value: Json) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _schemas_differ(live: set[Thing], expected: set[Thing]) -> Iterator[str]:
    for thing in sorted(expected - live, key=_order):
        yield f"missing: {thing.table} {thing.what}"
    for thing in sorted(live - expected, key=_order):
        yield f"unexpected: {thing.table} {thing.what}"


def _order(thing: Thing) -> tuple[str, str]:
    return thing.table, thing.what
