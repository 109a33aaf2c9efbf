"""A tenant's bucket, in a folder and on a server that speaks S3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import obstore
import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from handlers.adapters.effects import EffectFailed, PermanentlyFailed
from handlers.adapters.exports.shelf import count_objects
from handlers.adapters.objects import Buckets, buckets


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
    await store.remove(tenant)
    assert not await store.exists(tenant)
    await store.close()


async def test_a_bucket_of_somebody_else_is_never_taken(monkeypatch: pytest.MonkeyPatch, s3: str):
    store = buckets(f"s3://acme?endpoint={s3}", "an id", "a secret")

    def taken(request: httpx.Request) -> httpx.Response:
        return httpx.Response(409, text="<Error><Code>BucketAlreadyExists</Code></Error>")

    monkeypatch.setattr(store, "_http", httpx.AsyncClient(transport=httpx.MockTransport(taken)))
    with pytest.raises(PermanentlyFailed):
        await store.create(uuid4())
    await store.close()


async def test_a_server_that_is_not_there_is_a_failure_to_be_tried_again():
    store = buckets("s3://acme?endpoint=http://127.0.0.1:1", "an id", "a secret")
    with pytest.raises(EffectFailed) as failed:
        await store.create(uuid4())
    assert not isinstance(failed.value, PermanentlyFailed)
    assert "a secret" not in str(failed.value)
    await store.close()


@pytest.mark.parametrize("url", ["ftp://x", "objects", ""])
def test_an_object_store_that_nobody_knows_is_refused(url: str):
    with pytest.raises(ValueError, match="an object store is at"):
        buckets(url)
