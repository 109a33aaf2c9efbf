"""What is accepted can be stored and sent: what fits into no message is refused before it is written."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.execution.body import MAX_BODY
from handlers.execution.executor import Executor
from handlers.execution.sizes import DEFAULT_LARGEST
from handlers.relay.cloud_events import message
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta
from handlers.wire.sizes import published
from handlers.wire.subjects import Subjects
from tenant_domain.tenant.decide import ref as tenant_ref
from tests.handlers.execution.commands import (
    active_tenant,
    executor_on,
    facts,
    outcome,
    provision,
    request,
)

FENCES = 256
SMALL = 20_000


@pytest.fixture
async def narrow(store: EventStore) -> AsyncIterator[Executor]:
    """An executor beside servers that carry little."""
    one = executor_on(store, largest=lambda: SMALL)
    await one.start()
    yield one
    await one.stop()


async def largest_message(store: EventStore, tenant: UUID) -> int:
    """Return the bytes of the largest message that a tenant's events become."""
    messages = [
        message(event, Subjects("t" * 64)) for event in await store.read_tenant(tenant, 0, None, 1000)
    ]
    return max(len(each.headers) + len(each.body) + FENCES for each in messages)


def of_size(size: int) -> dict[str, Any]:
    """Return fields whose JSON has so many bytes, in as many keys as there can be."""
    metadata: dict[str, str] = {}
    left = size - len('{"metadata": {}}')
    while left >= 10 and len(metadata) < 16_000:
        key = f"{len(metadata):x}"
        metadata[key] = ""
        left -= len(key) + 8
    metadata["rest"] = "x" * max(left - 12, 0)
    return {"metadata": metadata}


@pytest.mark.parametrize("size", [100_000, 200_000, MAX_BODY - 100])
async def test_the_largest_body_of_the_smallest_keys_is_accepted_and_fits_into_a_message(
    store: EventStore, executor: Executor, size: int
) -> None:
    tenant = await active_tenant(store, executor)
    reply = await executor.execute(request(tenant, "update_profile", of_size(size)))
    assert outcome(reply)["status"] == "completed"
    assert await largest_message(store, tenant) <= DEFAULT_LARGEST


async def test_what_would_not_fit_is_refused_by_its_largest_field_and_nothing_is_written(
    store: EventStore, executor: Executor, narrow: Executor
) -> None:
    tenant, command_id = await active_tenant(store, executor), uuid4()
    before = await facts(store, tenant)
    body = {"name": "Acme & Sons", "metadata": {"crm": "x" * SMALL}, "settings": {"theme": "dark"}}

    refused = outcome(await narrow.execute(request(tenant, "update_profile", body, command_id=command_id)))

    assert refused["status"] == "rejected"
    assert refused["error"]["type"] == "/problems/invalid-command"
    assert [each["field"] for each in refused["error"]["errors"]] == ["metadata"]
    assert await facts(store, tenant) == before
    # not recorded: with servers that carry it, the same command is decided
    again = await executor.execute(request(tenant, "update_profile", body, command_id=command_id))
    assert outcome(again)["status"] == "completed"


async def test_a_tenant_that_would_not_be_made_leaves_no_key(
    store: EventStore, narrow: Executor, executor: Executor
) -> None:
    tenant = uuid4()
    body = {
        "name": "Acme",
        "subdomain": f"t-{tenant.hex}",
        "admin": {"email": "ada@acme.example", "name": "Ada"},
        "metadata": {"crm": "x" * SMALL},
    }
    refused = outcome(await narrow.execute(request(tenant, "provision", body)))
    assert refused["error"]["errors"][0]["field"] == "metadata"
    assert not await store.tenant_keys.of_tenants([tenant])
    assert outcome(await narrow.execute(provision(tenant)))["status"] == "completed"


async def test_the_tenant_stays_answerable_however_its_fields_grow(
    store: EventStore, executor: Executor, narrow: Executor
) -> None:
    tenant = await active_tenant(store, executor)
    replies = [
        outcome(await narrow.execute(request(tenant, "update_profile", fields)))["status"]
        for fields in (
            {"metadata": {"crm": "x" * 9_000}},
            *({"settings": {f"k{n}": "y" * 500}} for n in range(12)),
        )
    ]
    assert replies[0] == "completed"
    assert {"completed", "rejected"} == set(replies[1:])
    state = (await store.load([tenant_ref(tenant)]))[tenant].state
    assert len(msgspec.json.encode(state)) <= SMALL


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=300)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(texts, inner, max_size=20),
    max_leaves=60,
)
headers = st.fixed_dictionaries(
    {},
    optional={
        name: st.text(st.characters(categories=["L", "N", "S"]), min_size=1, max_size=255)
        for name in ("Actor", "Correlation_Id", "Causation_Id")
    },
)


@given(
    metadata=st.dictionaries(texts, texts, max_size=200),
    own=st.dictionaries(texts, values, max_size=40),
    headers=headers,
    largest=st.integers(3_000, 60_000),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_committed_fits_into_the_message_that_it_becomes(
    store: EventStore, metadata: dict[str, str], own: dict[str, Any], headers: dict[str, Any], largest: int
) -> None:
    executor, tenant = executor_on(store, largest=lambda: largest), uuid4()
    await executor.start()
    body = {
        "name": "Acme",
        "subdomain": f"t-{tenant.hex}",
        "admin": {"email": "ada@acme.example", "name": "Ada"},
        "metadata": metadata,
        "settings": own,
    }
    reply = outcome(await executor.execute(request(tenant, "provision", body, **headers)))
    await executor.stop()
    if reply["status"] == "completed":
        assert await largest_message(store, tenant) <= largest
    else:
        assert reply["error"]["type"] in ("/problems/invalid-command", "/problems/quota-exceeded")


def test_a_published_size_counts_what_headers_write_as_three_bytes() -> None:
    meta = Meta(actor="é" * 255, correlation_id="語" * 255)
    body = msgspec.json.encode({"v": 1, "data": {}, "meta": meta})
    assert published(body, meta) > 3 * (2 + 3) * 255
