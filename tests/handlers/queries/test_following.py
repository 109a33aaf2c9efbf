"""What an outcome has named is found at once, as it is in the log, however far behind the read models are."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from handlers.wire.hints import Moved
from projections import tenants
from tenant_domain.operation.events import OperationSucceeded
from tenant_domain.refusals import NotFound, StaleRead, TenantNotFound, Unavailable
from tenant_domain.subdomain.events import SubdomainClaimed, SubdomainReleased
from tenant_domain.tenant.events import Activated, ProfileUpdated
from tenant_domain.values import subdomain_stream
from tests.support.histories import later
from tests.support.readside import ReadSide

ACTIVATED = Activated(operation_id=str(UUID(int=1)))


async def test_a_tenant_and_its_operation_are_found_before_they_are_projected(side: ReadSide) -> None:
    tenant = side.history.tenant("Ada & Søn")
    operation = side.history.operation(tenant)
    head = await side.history.append(side.store)
    made = await side.ask(tenant, "tenant")
    assert (made["name"], made["version"], made["status"]) == ("Ada & Søn", 1, "provisioning")
    run = await side.ask(tenant, "operation", operation_id=str(operation))
    assert (run["operation_id"], run["status"], run["position"]) == (str(operation), "running", head)
    assert (await side.ask(tenant, "operations"))["items"] == []  # a page is what the read model has


async def test_a_row_that_is_behind_is_read_on_from_the_log(side: ReadSide) -> None:
    tenant = side.history.tenant("Before")
    operation = side.history.operation(tenant)
    await side.project()
    read = await side.ask(tenant, "tenant")
    side.history.add(tenant, tenant, ProfileUpdated(tenant_name="After"))
    side.history.add(tenant, operation, OperationSucceeded(finished_at=later(5)))
    head = await side.history.append(side.store)
    now = await side.ask(tenant, "tenant", min_position=head)
    assert (now["name"], now["version"], now["position"]) == ("After", 2, head)
    assert (now["created_at"], now["updated_at"] > read["updated_at"]) == (read["created_at"], True)
    assert (await side.ask(tenant, "operation", operation_id=str(operation)))["status"] == "succeeded"
    await side.project()
    assert {**await side.ask(tenant, "tenant"), "position": 0} == {**now, "position": 0}


async def test_a_tenant_that_nobody_changed_includes_a_position_that_is_asked_for(side: ReadSide) -> None:
    tenant, other = side.history.tenant("Still"), side.history.tenant("Busy", subdomain="busy")
    await side.project()
    side.history.add(other, other, ACTIVATED)
    head = await side.history.append(side.store)
    still = await side.ask(tenant, "tenant", min_position=head, timeout_ms=0)
    assert (still["version"], still["position"]) == (1, head)
    with pytest.raises(StaleRead, match=f"as of {head}.*timeout_ms"):
        await side.ask(tenant, "tenant", min_position=head + 1, timeout_ms=0)


async def test_an_id_of_something_else_is_not_found(side: ReadSide) -> None:
    mine, other = side.history.tenant(subdomain="a"), side.history.tenant(subdomain="b")
    operation = side.history.operation(other)
    await side.history.append(side.store)
    for asked in (operation, other, mine, uuid4()):
        with pytest.raises(NotFound):
            await side.ask(mine, "operation", operation_id=str(asked))
    for nobody in (operation, uuid4()):
        with pytest.raises(TenantNotFound):
            await side.ask(nobody, "tenant")


def claim(side: ReadSide, tenant: UUID, label: str) -> None:
    side.history.add(
        tenant, subdomain_stream(label), SubdomainClaimed(subdomain=label, tenant_id=str(tenant))
    )


async def test_a_subdomain_leads_to_its_holder_as_the_log_has_it(side: ReadSide) -> None:
    former = side.history.tenant("Former", subdomain="wanted")
    claim(side, former, "wanted")
    await side.project()
    assert (await side.ask("fleet", "by_subdomain", subdomain="wanted"))["tenant_id"] == str(former)
    side.history.add(former, former, ProfileUpdated(subdomain="other"))
    released = SubdomainReleased(subdomain="wanted", tenant_id=str(former))
    side.history.add(former, subdomain_stream("wanted"), released)
    claim(side, former, "other")
    await side.history.append(side.store)
    with pytest.raises(TenantNotFound):
        await side.ask("fleet", "by_subdomain", subdomain="wanted")
    assert (await side.ask("fleet", "by_subdomain", subdomain="other"))["version"] == 2
    holder = side.history.tenant("Holder", subdomain="wanted")
    claim(side, holder, "wanted")
    await side.history.append(side.store)
    assert (await side.ask("fleet", "by_subdomain", subdomain="wanted"))["tenant_id"] == str(holder)


async def test_a_subdomain_does_not_lead_to_who_gave_it_up_without_a_release(side: ReadSide) -> None:
    """The claim's stream and the tenant's are two: one of them may be read before the other is written."""
    former = side.history.tenant("Former", subdomain="wanted")
    claim(side, former, "wanted")
    await side.project()
    side.history.add(former, former, ProfileUpdated(subdomain="other"))
    head = await side.history.append(side.store)
    with pytest.raises(TenantNotFound):
        await side.ask("fleet", "by_subdomain", subdomain="wanted", min_position=head)


async def test_what_cannot_be_read_is_not_said_to_be_missing(side: ReadSide) -> None:
    unread, partly = side.history.tenant(subdomain="a"), side.history.tenant(subdomain="b")
    side.history.add(partly, partly, ACTIVATED)
    await side.history.append(side.store)
    later_topic = "UPDATE service.events SET topic = 'tenant.of_tomorrow' WHERE originator_id = %s"
    await side.execute(f"{later_topic} AND originator_version = 1", unread)
    await side.execute(f"{later_topic} AND originator_version = 2", partly)
    with pytest.raises(Unavailable):
        await side.ask(unread, "tenant")
    assert (await side.ask(partly, "tenant"))["version"] == 1


# what is kept in memory


async def beat(side: ReadSide) -> None:
    """The projector says that it is well, and has nothing to do."""
    head = await side.store.head()
    [(generation, epoch)] = await side.fetch(
        "SELECT generation, epoch FROM service.projections WHERE name = %s AND live", tenants.MODEL.name
    )
    side.queries.memory.heard(Moved(tenants.MODEL.name, generation, epoch, head, head, []))


async def test_whoever_writes_tells_so_before_the_commit_and_nothing_older_is_given(side: ReadSide) -> None:
    tenant = side.history.tenant("Before")
    await side.project()
    await beat(side)
    assert (await side.ask(tenant, "tenant"))["name"] == "Before"
    assert side.queries.at_once(str(tenant), "tenant", b"") is not None

    side.store.announce = side.queries.memory.written
    side.history.add(tenant, tenant, ProfileUpdated(tenant_name="After"))
    await side.history.append(side.store)
    await beat(side)
    assert side.queries.at_once(str(tenant), "tenant", b"") is None
    assert (await side.ask(tenant, "tenant"))["name"] == "After"
    await side.project()
    assert (await side.ask(tenant, "tenant"))["name"] == "After"


async def test_memory_answers_for_a_position_that_it_includes(side: ReadSide) -> None:
    tenant = side.history.tenant()
    await side.project()
    await beat(side)
    await side.ask(tenant, "tenant")
    head = await side.store.head()
    for body in (b'{"min_position":%d}' % head, b'{"min_position":%d,"timeout_ms":50}' % head, b"{}"):
        assert side.queries.at_once(str(tenant), "tenant", body) is not None
    for body in (
        b'{"min_position":%d}' % (head + 1),
        b'{"min_position":-1}',
        b'{"min_position":1.0}',
        b'{"timeout_ms":-1}',
        b'{"timeout_ms":30001}',
        b'{"no_such_field":1}',
        b'{"min_position":1,"min_position":1}',
        b"[]",
        b"{",
    ):
        assert side.queries.at_once(str(tenant), "tenant", body) is None
