"""Plan changes and the end of a tenant whose objects are on a server that speaks S3."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pytest

from tenant_domain.operation.state import OperationStatus
from tests.handlers.saga_runner.ending import (
    certificate,
    check_by_hand,
    fetched,
    living,
    preserved,
    terminate,
)
from tests.handlers.saga_runner.faults import Faults, fail, fail_for_good
from tests.handlers.saga_runner.house import EVERYTHING, House, house_at
from tests.handlers.saga_runner.test_upgrade import DOWN, UP, moving

LARGE = bytes(range(256)) * 4 * 6500
"""More than one part of an upload."""


@pytest.fixture
async def house(store_url: str, nats_url: str, tmp_path: Path, s3: str) -> AsyncIterator[House]:
    async with house_at(store_url, nats_url, tmp_path / "none", s3=s3) as built:
        yield built
    assert not (tmp_path / "none").exists()


def in_a_month() -> datetime:
    return datetime.now(UTC) + timedelta(days=31)


async def test_a_plan_changes_or_is_taken_back_from_its_backup(house: House):
    faults = Faults(house.effects)
    up, down = await moving(house, UP, DOWN)
    for tenant in (up, down):
        for effect in ("keep_backup", "drop_backup", "release_backup"):
            faults.plan(("after", effect), fail, tenant_id=tenant.tenant_id)
        await tenant.ask()
    faults.plan(("after", "apply_plan"), *[fail_for_good] * 5, tenant_id=down.tenant_id)
    async with house.working(effects=faults.effects()):
        assert (await up.end()).status is OperationStatus.SUCCEEDED
        assert (await down.end()).status is OperationStatus.ROLLED_BACK
    assert await up.is_on_the_other_plan()
    assert await down.is_what_it_was()


async def test_a_tenant_is_exported_and_ends_with_nothing_left(house: House):
    faults = Faults(house.effects)
    async with house.working(effects=faults.effects()):
        tenant_id = await living(house)
        await obstore.put_async(house.buckets.open(tenant_id), "large", LARGE)
        faults.plan(("after", "preserve_data"), fail, tenant_id=tenant_id)
        faults.plan(("after", "delete_securely"), fail, tenant_id=tenant_id)
        operation_id = await terminate(house, tenant_id, retain_days=30)
        await preserved(house, operation_id)
        assert await house.remains(tenant_id) == {*EVERYTHING, "export"}
        assert await fetched(house, tenant_id, "objects/large") == LARGE
        manifest = json.loads(await fetched(house, tenant_id, "manifest.json"))
        for part in manifest["parts"]:
            content = await fetched(house, tenant_id, part["path"])
            assert hashlib.sha256(content).hexdigest() == part["sha256"]
        await house.sql("UPDATE service.saga_agenda SET due_at = now()")
    async with house.working(effects=faults.effects(), now=in_a_month):
        assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED
    assert await house.remains(tenant_id) == set()
    document = await certificate(house, tenant_id)
    check_by_hand(document)
    said = json.loads(document)["certificate"]
    assert said["export"]["fetched_at"] is not None
    assert {store["what"]: store["count"] for store in said["stores"]}["objects of the tenant's bucket"] == 2
