"""Decisions on sealed fields: they see what was said, whoever said it last, and open it once."""

from typing import Any
from uuid import UUID

from handlers.execution.executor import Executor
from handlers.store.event_store import EventStore
from tenant_domain.tenant.decide import ref as tenant_ref
from tenant_domain.tenant.state import Tenant
from tests.handlers.execution.commands import active_tenant, executor_on, outcome, request
from tests.support.keys import keyring_of


async def told(executor: Executor, tenant: UUID, **fields: Any) -> int:
    """Change a tenant's fields, and return the version that it is at."""
    return outcome(await executor.execute(request(tenant, "update_profile", fields)))["version"]


async def standing(store: EventStore, tenant: UUID) -> Tenant:
    """Return what the log says of a tenant, opened."""
    state = (await store.load([tenant_ref(tenant)]))[tenant].state
    assert isinstance(state, Tenant)
    return await keyring_of(store).opened(tenant, state)


async def test_what_follows_on_sealed_fields_is_decided_on_what_they_say(
    store: EventStore, executor: Executor
) -> None:
    tenant = await active_tenant(store, executor)
    versions = [
        await told(executor, tenant, settings={"theme": "dark", "size": 1}),
        await told(executor, tenant, metadata={"crm": "7"}),
        await told(executor, tenant, metadata={"crm": "7"}),
        await told(executor, tenant, settings={"size": None, "tabs": [1, 2]}),
        await told(executor, tenant, settings={"theme": "dark"}),
    ]
    assert versions == [3, 4, 4, 5, 5]
    now = await standing(store, tenant)
    assert (now.metadata, now.settings) == ({"crm": "7"}, {"theme": "dark", "tabs": [1, 2]})


async def test_what_another_process_wrote_is_not_taken_for_what_was_opened_before(
    store: EventStore, executor: Executor
) -> None:
    other = executor_on(store)
    await other.start()
    tenant = await active_tenant(store, executor)
    await told(executor, tenant, metadata={"crm": "1"})
    await told(other, tenant, metadata={"crm": "2"}, name="Apex")

    version = await told(executor, tenant, name="Apex", metadata={"crm": "1"})

    assert (version, (await standing(store, tenant)).metadata) == (5, {"crm": "1"})
    await other.stop()
