"""What a change of the plan does to a tenant's schema, what its verification sees, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import obstore
import psycopg
import pytest
from msgspec.structs import replace

from deploy.embedded.postgres import executable
from handlers.adapters import plan_state, schemas
from handlers.adapters.effects import EffectFailed, Output, PermanentlyFailed, Work
from handlers.adapters.objects import LocalBuckets
from handlers.adapters.plan_state import PlanState
from handlers.adapters.plan_tables import dropping, making
from handlers.adapters.plans import Plans, backup_path
from handlers.adapters.schemas import schema_of
from tenant_domain.catalogue import PLANS
from tenant_domain.operation.events import StepCompleted
from tenant_domain.operation.state import evolve
from tenant_domain.tenant.commands import Upgrade
from tests.handlers.adapters.works import KEY, inside, work_on
from tests.sagas.rehearsal import Rehearsal
from tests.support.waiting import soon, within


class Change:
    """A tenant of plan `professional`, and the work of its change to another."""

    def __init__(self, url: str, folder: Path, plan: str) -> None:
        rehearsal = Rehearsal.of("provisioning")
        rehearsal.to_the_end()
        rehearsal.go_on_with("upgrade", Upgrade(plan=plan))
        policy = rehearsal.scene().policy
        self.url, self.name = url, schema_of(rehearsal.tenant_id)
        self.work = Work(rehearsal.tenant_id, rehearsal.tenant, rehearsal.operation, (), policy)
        self.folder, self.buckets = folder, LocalBuckets(folder, "t")
        self.plans = Plans(self.connect, self.buckets)

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            yield connection

    async def sql(self, query: str) -> None:
        async with self.connect() as connection:
            await connection.execute(query.replace("{}", self.name).encode())

    async def provision(self) -> None:
        """Make the tenant's schema and bucket."""
        await self.buckets.create(self.work.tenant_id)
        defaults = work_on("configure_defaults")._replace(tenant_id=self.work.tenant_id)
        async with self.connect() as connection, connection.transaction():
            await schemas.prepare(connection)
            await schemas.create_schema(inside(defaults, connection), key=KEY)
            await schemas.write_defaults(inside(defaults, connection))

    async def keep(self) -> None:
        """Make the backup, as the step does."""
        self._done("backup_state", await self.plans.keep(self.work))

    async def apply(self) -> Output:
        async with self.connect() as connection, connection.transaction():
            return await self.plans.apply(inside(self.work, connection))

    async def restore(self) -> None:
        async with self.connect() as connection, connection.transaction():
            await self.plans.restore(inside(self.work, connection))

    async def differences(self) -> list[str]:
        async with self.connect() as connection, connection.transaction():
            output = await self.plans.verify(inside(self.work, connection))
        self._done("verify", output)
        return output["differences"]

    async def state(self) -> PlanState:
        async with self.connect() as connection:
            return await plan_state.read(connection, self.work.tenant_id)

    async def dumped(self) -> str:
        """Return all of the schema as PostgreSQL's own tool tells it, its lines in order: rows have none."""
        command = [
            executable("pg_dump"),
            "--schema",
            self.name,
            "--dbname",
            self.url,
            "--restrict-key",
            "same",
        ]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output = (await process.communicate())[0].decode()
        assert process.returncode == 0
        return "\n".join(sorted(output.splitlines()))

    async def backup(self) -> bytes | None:
        bucket = self.buckets.open(self.work.tenant_id)
        try:
            found = await obstore.get_async(bucket, backup_path(self.work.operation.operation_id))
        except FileNotFoundError:
            return None
        return bytes(await found.bytes_async())

    def _done(self, step: str, output: Output) -> None:
        at = self.work.operation.started_at
        fact = StepCompleted(step=step, attempt=1, started_at=at, finished_at=at, output=dict(output))
        operation = evolve(self.work.operation, fact)
        assert operation is not None
        self.work = self.work._replace(operation=operation)


async def changing(url: str, folder: Path, plan: str) -> Change:
    change = Change(url, folder, plan)
    await change.provision()
    return change


@pytest.fixture
async def up(store_url: str, tmp_path: Path) -> Change:
    return await changing(store_url, tmp_path, "enterprise")


@pytest.fixture
async def down(store_url: str, tmp_path: Path) -> Change:
    return await changing(store_url, tmp_path, "basic")


async def test_a_new_tenant_has_the_tables_of_its_plan(up: Change):
    state = await up.state()
    assert state.tables == PLANS["professional"].schema
    own = {thing.what for thing in state.schema if thing.table == "sso_connections"}
    assert "grant INSERT to {tenant}" in own
    assert "column 5 settings jsonb not null default '{}'::jsonb" in own
    assert any("CHECK" in what for what in own)
    assert any("USING btree (issuer) WHERE enabled" in what for what in own)


@pytest.mark.parametrize("plan", ["enterprise", "basic", "free"])
async def test_what_was_changed_is_as_the_plan_says_and_restored_to_the_letter(
    store_url: str, tmp_path: Path, plan: str
):
    change = await changing(store_url, tmp_path, plan)
    before, dumped = await change.state(), await change.dumped()
    await change.keep()
    await change.apply()
    assert await change.differences() == []
    changed = await change.state()
    assert (changed.setting("plan"), changed.tables) == (plan, dict(PLANS[plan].schema))
    assert await change.dumped() != dumped
    for _ in range(2):
        await change.restore()
        assert plan_state.packed(await change.state()) == plan_state.packed(before)
        assert await change.dumped() == dumped


async def test_restoring_takes_back_what_came_to_the_settings_meanwhile(up: Change):
    before = await up.state()
    await up.keep()
    await up.apply()
    await up.sql("DELETE FROM {}.settings WHERE key = 'branding'")
    await up.sql("INSERT INTO {}.settings (key, value) VALUES ('other', '1')")
    await up.restore()
    assert await up.state() == before


async def test_a_restored_schema_that_is_not_what_was_kept_is_no_success(up: Change):
    await up.keep()
    await up.apply()
    await up.sql("ALTER TABLE {}.users ADD COLUMN by_hand text")
    with pytest.raises(EffectFailed, match="differs from its backup"):
        await up.restore()


TAMPERED = {
    "UPDATE {}.settings SET value = '{\"users\": 1}' WHERE key = 'quotas'": "quotas.users is 1, not 10000",
    "UPDATE {}.settings SET value = value || '{\"sso\": 1}' WHERE key = 'flags'": "flags.sso is 1, not true",
    "UPDATE {}.settings SET value = '\"free\"' WHERE key = 'plan'": 'plan is "free", not "enterprise"',
    "UPDATE {}.settings SET value = '{}' WHERE key = 'branding'": "the setting branding has changed",
    "INSERT INTO {}.settings (key, value) VALUES ('other', '1')": "the setting other has changed",
    "ALTER TABLE {}.audit_exports DROP COLUMN path": "missing: audit_exports column 7 path text",
    "DROP TABLE {}.sso_connections": "missing: sso_connections constraint sso_connections_pkey",
    "REVOKE ALL ON {}.sso_connections FROM {}": "missing: sso_connections grant INSERT to {tenant}",
    "REVOKE INSERT (format) ON {}.audit_exports FROM {}": "missing: audit_exports grant INSERT (format) to",
    "GRANT UPDATE ON {}.settings TO {}": "unexpected: settings grant UPDATE to {tenant}",
    "GRANT CREATE ON SCHEMA {} TO {}": "unexpected:  grant CREATE on the schema to {tenant}",
    "GRANT SELECT ON {}.users TO PUBLIC": "unexpected: users grant SELECT to",
    "ALTER TABLE {}.users ADD COLUMN mine int DEFAULT 7": "unexpected: users column 8 mine integer default 7",
    "ALTER TABLE {}.usage ALTER used TYPE numeric": "unexpected: usage column 3 used numeric",
    "ALTER TABLE {}.usage ALTER used DROP DEFAULT": "unexpected: usage column 3 used bigint not null",
    "ALTER TABLE {}.users ADD CHECK (role <> '')": "unexpected: users constraint users_role_check",
    "CREATE INDEX mine ON {}.users (email)": "unexpected: users CREATE INDEX mine ON {tenant}.users",
    "ALTER TABLE {}.users ENABLE ROW LEVEL SECURITY": "unexpected: users relation r p of service, security t",
    "CREATE POLICY mine ON {}.users USING (true)": "unexpected: users policy mine * true",
    "COMMENT ON TABLE {}.users IS 'mine'": "unexpected: users relation r p of service, security f f, mine",
    "CREATE VIEW {}.mine AS SELECT 1 AS one": "unexpected: mine column 1 one integer",
    "CREATE FUNCTION {}.f() RETURNS int LANGUAGE sql RETURN 1": "unexpected:  CREATE OR REPLACE FUNCTION",
}


@pytest.mark.parametrize(("by_hand", "difference"), TAMPERED.items())
async def test_verification_sees_what_differs(up: Change, by_hand: str, difference: str):
    await up.keep()
    await up.apply()
    await up.sql(by_hand.replace("'{}'", "'null'"))
    assert any(found.startswith(difference) for found in await up.differences())


async def test_verification_leaves_nothing_behind(up: Change):
    await up.keep()
    await up.apply()
    before = await up.dumped()
    await up.differences()
    assert await up.dumped() == before
    async with up.connect() as connection:
        found = await connection.execute("SELECT 1 FROM pg_namespace WHERE nspname LIKE 'model%'")
        assert found.rowcount == 0


# the backup


async def test_a_backup_is_written_once_and_written_again_when_it_is_not_what_stands(up: Change):
    await up.keep()
    first = await up.backup()
    [path] = up.folder.rglob("*.json")
    written = path.stat().st_mtime_ns
    await up.keep()
    assert path.stat().st_mtime_ns == written
    path.write_bytes(b"half of")
    await up.keep()
    assert await up.backup() == first
    assert up.work.operation.step("backup_state").output["sha256"] == plan_state.hashed(first or b"")


@pytest.mark.parametrize("raw", [b"{}", None])
async def test_a_backup_that_was_changed_or_is_gone_is_not_used(up: Change, raw: bytes | None):
    await up.keep()
    await up.apply()
    before = await up.state()
    bucket, path = up.buckets.open(up.work.tenant_id), backup_path(up.work.operation.operation_id)
    if raw is None:
        await obstore.delete_async(bucket, path)
    else:
        await obstore.put_async(bucket, path, raw)
    with pytest.raises(PermanentlyFailed, match=f"backup {path} .*is not"):
        await up.restore()
    assert await up.state() == before


async def test_a_backup_goes_when_the_change_holds_and_stays_while_it_may_be_needed(up: Change):
    await up.keep()
    await up.differences()
    await up.plans.release(up.work)
    assert await up.backup() is not None
    await up.apply()
    assert await up.differences() == []
    for _ in range(2):
        await up.plans.release(up.work)
        assert await up.backup() is None


async def test_an_object_store_that_fails_is_told_as_what_it_is(up: Change):
    await up.buckets.remove(up.work.tenant_id)
    with pytest.raises(EffectFailed, match="object store of TENANTS_OBJECTS_URL failed"):
        await up.plans.keep(up.work)


# what the plan cannot hold


async def test_a_row_that_came_after_the_backup_keeps_its_table(down: Change):
    await down.keep()
    await down.sql("INSERT INTO {}.sso_connections (name, protocol, issuer) VALUES ('a', 'oidc', 'b')")
    before = await down.state()
    with pytest.raises(PermanentlyFailed, match="1 rows in sso_connections"):
        await down.apply()
    assert await down.state() == before


async def test_a_row_that_is_being_written_keeps_its_table(down: Change):
    await down.keep()
    async with down.connect() as writing:
        async with writing.transaction():
            row = (
                f"INSERT INTO {down.name}.sso_connections (name, protocol, issuer) VALUES ('a', 'oidc', 'b')"
            )
            await writing.execute(row.encode())
            applying = asyncio.create_task(down.apply())
            await _somebody_waits(down)
        with pytest.raises(PermanentlyFailed, match="1 rows in sso_connections"):
            await applying
    assert (await down.state()).tables == {"sso_connections": 1}


async def _somebody_waits(change: Change) -> None:
    async with within("somebody who waits for a lock"), change.connect() as connection:
        while (await connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted")).rowcount == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("within_it", [False, True])
async def test_a_transaction_that_has_locked_tables_waits_for_others_as_long_as_before(
    up: Change, within_it: bool
):
    async with up.connect() as connection:
        if not within_it:
            await connection.execute("SET lock_timeout = '7s'")
        async with connection.transaction():
            if within_it:
                await connection.execute("SET LOCAL lock_timeout = '7s'")
            await plan_state.lock(connection, up.work.tenant_id, ["users"])
            assert await (await connection.execute("SHOW lock_timeout")).fetchone() == ("7s",)


@pytest.mark.parametrize("table", ["users", "settings", "sso_connections"])
async def test_a_table_that_the_tenant_has_locked_is_not_waited_for_and_named(down: Change, table: str):
    async with down.connect() as locking, locking.transaction():
        await locking.execute(f"LOCK TABLE {down.name}.{table} IN ACCESS EXCLUSIVE MODE".encode())
        async with down.connect() as connection, connection.transaction():
            with pytest.raises(EffectFailed, match=rf'locked a table.*\.{table}"'):
                await soon(plan_state.measured(connection, down.work.tenant_id))


async def test_storage_is_what_the_files_take_or_what_was_metered_last(up: Change):
    async def storage() -> int:
        async with up.connect() as connection, connection.transaction():
            return (await plan_state.measured(connection, up.work.tenant_id)).storage

    assert await storage() == 0
    await up.sql("INSERT INTO {}.files (path, size, media_type, sha256) VALUES ('a', 5, 'x', '')")
    assert await storage() == 5
    await up.sql("INSERT INTO {}.usage VALUES ('storage', '2026-10-01', 9), ('storage', '2026-11-01', 7)")
    assert await storage() == 7


async def test_who_was_removed_is_no_user_and_a_changed_theme_is_a_branding_of_its_own(up: Change):
    await up.sql("INSERT INTO {}.users (id, role, status) VALUES (gen_random_uuid(), 'viewer', 'removed')")
    async with up.connect() as connection, connection.transaction():
        use = await plan_state.measured(connection, up.work.tenant_id)
        assert (use.users, use.own_branding) == (0, False)
        await up.sql("""UPDATE {}.settings SET value = value || '{"theme": "dark"}' WHERE key = 'branding'""")
        assert (await plan_state.measured(connection, up.work.tenant_id)).own_branding


async def test_a_plan_that_brings_another_version_of_a_table_needs_a_template_of_it(up: Change):
    plans = {**PLANS, "enterprise": replace(PLANS["enterprise"], schema={"sso_connections": 2})}
    up.work = up.work._replace(policy=replace(up.work.policy, plans=plans))
    before = await up.state()
    with pytest.raises(FileNotFoundError):
        await up.apply()
    assert await up.state() == before


def test_every_plan_brings_tables_that_have_templates():
    for plan in PLANS.values():
        made, dropped = making(plan.schema, "s", "r"), dropping(plan.schema, "s")
        assert made.count("CREATE TABLE s.") == dropped.count("DROP TABLE s.") == len(plan.schema)
