"""A tenant's bucket, in a folder and on a server that speaks S3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import obstore
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from handlers.adapters.effects import EffectFailed, PermanentlyFailed
from handlers.adapters.exports.shelf import count_objects
from handlers.adapters.objects import Buckets, Owner, buckets

STRANGE = ("a//b", "/a/", "a/../b", "a\nb", "größe+&<1>%2F")
"""Keys that S3 takes, though most of them are no paths."""


@pytest.fixture(params=["folder", "s3", "s3 elsewhere"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Buckets]:
    if request.param == "folder":
        made = buckets(f"file:{tmp_path / 'objects'}")
    else:
        region = "eu-central-1" if request.param == "s3 elsewhere" else "us-east-1"
        endpoint = request.getfixturevalue("s3")
        made = buckets(f"s3://acme?endpoint={endpoint}&region={region}", "an id", "a secret")
    yield made
    await made.close()


async def exists(store: Buckets, tenant: object) -> bool:
    try:
        obstore.list_with_delimiter(store.open(tenant))  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001
        return False
    return True


async def test_a_bucket_is_made_once_and_holds_objects(store: Buckets):
    tenant = uuid4()
    assert not await exists(store, tenant)
    for _ in range(2):
        await store.create(tenant)
    await obstore.put_async(store.open(tenant), "reports/2026.txt", b"figures")
    found = await obstore.get_async(store.open(tenant), "reports/2026.txt")
    assert bytes(await found.bytes_async()) == b"figures"


async def test_removing_takes_the_bucket_with_all_it_holds_and_may_be_done_twice(store: Buckets):
    tenant, other = uuid4(), uuid4()
    await store.create(tenant)
    await store.create(other)
    for number in range(3):
        await obstore.put_async(store.open(tenant), f"a/{number}", b"x")
    await obstore.put_async(store.open(other), "kept", b"x")
    for _ in range(2):
        await store.remove(tenant)
        assert not await exists(store, tenant)
    assert await exists(store, other)
    await store.create(tenant)
    assert obstore.list_with_delimiter(store.open(tenant))["objects"] == []


async def test_removing_takes_more_objects_than_a_page_lists(s3: str):
    tenant, store = uuid4(), buckets(f"s3://acme?endpoint={s3}", "an id", "a secret")
    await store.create(tenant)
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for number in range(2100):
        backend.put_object(f"acme-t-{tenant.hex}", f"reports/{number}", b"x")
    assert await count_objects(store, tenant) == 2100
    for key in STRANGE:
        backend.put_object(f"acme-t-{tenant.hex}", key, b"x")
    await store.remove(tenant)
    assert not await store.exists(tenant)
    await store.close()


async def test_a_bucket_that_keeps_versions_goes_with_all_of_them(s3: str):
    tenant, store = uuid4(), buckets(f"s3://acme?endpoint={s3}", "an id", "a secret")
    await store.create(tenant)
    name = keeping_versions(tenant)
    for content in (b"first", b"second"):
        await obstore.put_async(store.open(tenant), "berichte/größe 1.txt", content)
    await obstore.delete_async(store.open(tenant), "berichte/größe 1.txt")
    begin_upload(name, "halb/ä+ 1")
    await store.remove(tenant)
    assert not await store.exists(tenant)
    await store.close()


async def test_parts_of_an_upload_that_nobody_ended_are_removed(s3: str):
    tenant, store = uuid4(), buckets(f"s3://acme?endpoint={s3}", "an id", "a secret")
    await store.create(tenant)
    name, backend = keeping_versions(tenant), s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    lock(name, "kept")
    for number in range(3):
        begin_upload(name, f"half ä/{number}")
    with pytest.raises(EffectFailed):
        await store.remove(tenant)
    assert not backend.list_multipart_uploads(name)
    await store.close()


async def test_versions_that_are_locked_are_said_to_stay(s3: str):
    tenant, store = uuid4(), buckets(f"s3://acme?endpoint={s3}", "an id", "a secret")
    await store.create(tenant)
    lock(keeping_versions(tenant), "kept")
    with pytest.raises(EffectFailed, match=r"AccessDenied.*Locked versions stay.*retry the operation"):
        await store.remove(tenant)
    assert await store.exists(tenant)
    await store.close()


def begin_upload(bucket: str, key: str) -> None:
    """Begin an upload that nobody will end."""
    backend: Any = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_multipart_upload(bucket, key, {}, "STANDARD", {}, None, "", "")


def lock(bucket: str, key: str) -> None:
    """Keep an object that nobody may delete for a while."""
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(
        bucket, key, b"x", lock_mode="COMPLIANCE", lock_until="2999-01-01T00:00:00Z"
    )


def keeping_versions(tenant: UUID) -> str:
    """Let the tenant's bucket keep versions, as an operator might; returns its name."""
    name = f"acme-t-{tenant.hex}"
    s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_bucket_versioning(name, "Enabled")
    return name


async def test_a_store_says_whose_buckets_of_its_kind_there_are(store: Buckets):
    tenants = {uuid4(), uuid4()}
    for tenant in tenants:
        await store.create(tenant)
    assert tenants <= set(await store.tenants())


@pytest.mark.parametrize("url", ["ftp://x", "objects", ""])
def test_an_object_store_that_nobody_knows_is_refused(url: str):
    with pytest.raises(ValueError, match="an object store is at"):
        buckets(url)


def an_operation() -> Owner:
    return Owner(uuid4(), datetime.now(UTC))


async def test_an_operation_makes_its_bucket_once_and_removes_it(store: Buckets):
    tenant, operation = uuid4(), an_operation()
    for _ in range(2):
        await store.claim(tenant, operation)
    assert await store.exists(tenant)
    for _ in range(2):
        await store.release(tenant, operation)
    assert not await store.exists(tenant)


async def test_a_bucket_that_stood_there_is_neither_taken_nor_removed(store: Buckets):
    tenant, operation = uuid4(), an_operation()
    await store.create(tenant)
    await obstore.put_async(store.open(tenant), "precious", b"42")
    for deed in (store.claim, store.release):
        with pytest.raises(PermanentlyFailed, match="stands there that this run did not make"):
            await deed(tenant, operation)
    assert await count_objects(store, tenant) == 1


async def test_a_bucket_of_another_operation_is_neither_taken_nor_removed(store: Buckets):
    tenant = uuid4()
    await store.claim(tenant, an_operation())
    for deed in (store.claim, store.release):
        with pytest.raises(PermanentlyFailed):
            await deed(tenant, an_operation())
    assert await store.exists(tenant)


async def test_what_an_older_version_made_is_known_by_the_journal(store: Buckets):
    tenant, operation = uuid4(), an_operation()
    await store.create(tenant)
    await store.release(tenant, operation._replace(made=True))
    assert not await store.exists(tenant)


async def test_a_bucket_whose_maker_died_before_it_was_marked_is_its_own(s3: str):
    """On S3 a bucket is made first and marked then; a folder's mark stands before it."""
    store = buckets(f"s3://acme?endpoint={s3}&region=us-east-1", "an id", "a secret")
    tenant, operation = uuid4(), an_operation()
    later = operation._replace(since=operation.since + timedelta(hours=1))
    await store.create(tenant)
    with pytest.raises(PermanentlyFailed):
        await store.claim(tenant, later)
    await store.claim(tenant, operation)
    await obstore.put_async(store.open(tenant), "kept", b"x")
    await store.release(tenant, operation)
    assert not await store.exists(tenant)
    await store.close()


async def test_a_folder_whose_maker_died_after_the_mark_is_made_later(tmp_path: Path):
    store, tenant, operation = buckets(f"file:{tmp_path}"), uuid4(), an_operation()
    await store.claim(tenant, operation)
    (tmp_path / f"t-{tenant.hex}").rmdir()
    await store.claim(tenant, operation)
    assert await store.exists(tenant)
    await store.close()
