"""What another service does with the client, on the whole running service."""

from __future__ import annotations

import ast
import asyncio
import re
import textwrap
from contextlib import aclosing
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import pytest
from uuid_utils.compat import uuid7

from handlers.bus.asyncapi import asyncapi_document
from handlers.client import Outcome, Request, TenantClient
from handlers.wire.subjects import Streams, Subjects
from tenant_domain.refusals import (
    CommandIdReused,
    InvalidCommand,
    InvalidTransition,
    NotFound,
    SubdomainTaken,
    TenantExists,
    TenantNotFound,
    UnknownCommand,
    UnknownQuery,
    VersionConflict,
)
from tenant_domain.tenant.commands import Resume, Suspend
from tests.journeys.conftest import Running
from tests.support.keys import same_but_sealed
from tests.support.waiting import PATIENCE, within

ADMIN = {"email": "ada@acme.example", "name": "Ada Lovelace"}
DOCUMENTED = Path(__file__).parents[2] / "docs" / "client.md"


def own_label() -> str:
    """Return a subdomain that no other test uses."""
    return f"t-{uuid4().hex}"


async def provisioned(tenants: TenantClient, label: str | None = None) -> Outcome:
    """Return the outcome of provisioning a tenant that is in service now."""
    outcome = await tenants.provision(name="Acme", subdomain=label or own_label(), admin=ADMIN, actor="tests")
    operation = await outcome.operation(timeout=PATIENCE)
    assert operation is not None
    assert operation.status == "succeeded"
    return outcome


async def test_a_tenant_comes_to_life_is_suspended_and_comes_back(tenants: TenantClient):
    label = own_label()
    outcome = await provisioned(tenants, label)
    tenant = await tenants.tenant(outcome.tenant_id)
    assert (tenant.name, tenant.subdomain, tenant.status, tenant.plan) == ("Acme", label, "active", "basic")
    assert tenant.operation_id is None
    assert tenant.quotas["users"] > 0
    assert (await tenants.by_subdomain(label)).tenant_id == outcome.tenant_id

    suspended = await tenants.suspend(outcome.tenant_id, "unpaid")
    assert (await tenants.tenant(outcome.tenant_id, min_position=suspended.position)).status == "suspended"
    await suspended.operation(timeout=PATIENCE)
    resumed = await tenants.resume(outcome.tenant_id)
    operation = await resumed.operation(timeout=PATIENCE)
    assert operation is not None
    assert (operation.kind, operation.status) == ("resumption", "succeeded")
    assert (await tenants.as_of(outcome.tenant_id, version=suspended.version)).status == "suspended"
    kinds = [each.kind async for each in tenants.operations(outcome.tenant_id)]
    assert kinds == ["provisioning", "suspension", "resumption"]


async def test_the_same_command_is_done_once(tenants: TenantClient):
    acme = (await provisioned(tenants)).tenant_id
    command_id = uuid7()
    first = await tenants.update_profile(acme, name="Acme 2", command_id=command_id)
    again = await tenants.update_profile(acme, name="Acme 2", command_id=command_id)
    stored = await (
        await tenants.send(acme, "update_profile", {"name": "Acme 2"}, command_id=command_id)
    ).outcome()
    assert first == again == stored == await tenants.outcome(acme, command_id)
    with pytest.raises(CommandIdReused):
        await tenants.update_profile(acme, name="Acme 3", command_id=command_id)


async def test_refusals_come_as_what_they_are(tenants: TenantClient):
    label = own_label()
    acme = (await provisioned(tenants, label)).tenant_id
    stranger = uuid7()
    with pytest.raises(SubdomainTaken):
        await tenants.provision(name="Other", subdomain=label, admin=ADMIN)
    with pytest.raises(TenantExists):
        await tenants.provision(tenant_id=acme, name="Acme", subdomain=own_label(), admin=ADMIN)
    with pytest.raises(InvalidCommand, match="plan on sale") as invalid:
        await tenants.provision(name="Other", subdomain=own_label(), admin=ADMIN, plan="gold")
    assert invalid.value.extra["errors"][0]["field"] == "plan"
    with pytest.raises(VersionConflict) as conflict:
        await tenants.update_profile(acme, name="Acme 2", expected_version=1)
    assert conflict.value.extra["version"] == (await tenants.tenant(acme)).version
    with pytest.raises(TenantNotFound):
        await tenants.resume(stranger)
    with pytest.raises(TenantNotFound):
        await tenants.tenant(stranger)
    with pytest.raises(NotFound):
        await tenants.cancel_operation(acme, uuid4())
    (ended,) = [each async for each in tenants.operations(acme)]
    with pytest.raises(InvalidTransition):
        await tenants.cancel_operation(acme, ended.operation_id)
    with pytest.raises(UnknownCommand):
        await tenants.command(acme, "clone")
    with pytest.raises(UnknownQuery):
        await tenants.query(acme, "horoscope")


async def test_stored_commands_are_decided_in_their_order(tenants: TenantClient):
    acme = (await provisioned(tenants)).tenant_id
    names = [f"Acme {number}" for number in range(200)]
    sent = await tenants.send_many(Request(acme, "update_profile", {"name": name}) for name in names)
    assert [each.error for each in sent] == [None] * len(names)
    last = await sent[-1].outcome(timeout=PATIENCE)
    facts = [fact async for fact in tenants.history(acme, types=["tenant.profile_updated"])]
    assert [fact.data["name"] for fact in facts] == names
    assert (await tenants.tenant(acme, min_position=last.position)).name == names[-1]


async def test_a_stored_command_answers_to_the_inbox_also_what_is_not_recorded(tenants: TenantClient):
    acme = (await provisioned(tenants)).tenant_id
    done = await (await tenants.send(acme, Suspend(reason="unpaid"), reply=True)).outcome(timeout=PATIENCE)
    assert done.operation_id is not None
    broken = await tenants.send(acme, "suspend", {"reason": 7}, reply=True)
    with pytest.raises(InvalidCommand, match="reason"):
        await broken.outcome(timeout=PATIENCE)
    await done.operation(timeout=PATIENCE)
    refused = await tenants.send(uuid7(), Resume(), reply=True)
    with pytest.raises(TenantNotFound):
        await refused.outcome(timeout=PATIENCE)


async def test_a_subscriber_sees_what_the_history_has(tenants: TenantClient):
    outcome = await provisioned(tenants)
    async with aclosing(tenants.subscribe(tenant_id=outcome.tenant_id)) as events:
        came = [await anext(events)]
        suspending = asyncio.create_task(
            tenants.suspend(outcome.tenant_id, "unpaid", correlation_id="order 7")
        )
        while came[-1].type != "tenant.suspended":
            came.append(await anext(events))
    last = await suspending
    facts = [
        fact
        async for fact in tenants.history(
            outcome.tenant_id, to_position=came[-1].position, min_position=last.position
        )
    ]
    assert [(event.position, event.type, event.version) for event in came] == [
        (fact.position, fact.type, fact.version) for fact in facts
    ]
    assert all(same_but_sealed(event.fields, fact.data) for event, fact in zip(came, facts, strict=True))
    assert came[0].fields["admin"]["email"].startswith("sealed:")
    assert [event.time for event in came] == [fact.time for fact in facts]
    assert (came[0].actor, came[-1].correlation_id) == ("tests", "order 7")
    assert all(event.event is not None for event in came)
    positions = [event.position for event in came]
    assert positions == sorted(set(positions))
    assert came[0].position == outcome.position - 2


async def test_many_clients_ask_at_once(tenants: TenantClient):
    outcomes = await asyncio.gather(
        *(
            tenants.provision(name=f"Acme {number}", subdomain=own_label(), admin=ADMIN)
            for number in range(20)
        )
    )
    ended = await asyncio.gather(*(outcome.operation(timeout=PATIENCE) for outcome in outcomes))
    assert {operation.status for operation in ended if operation} == {"succeeded"}
    assert len({operation.operation_id for operation in ended if operation}) == 20


async def test_what_the_documentation_shows_works(service: Running, capsys: pytest.CaptureFixture[str]):
    label = own_label()
    first, *others = re.findall(r"```python\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    source = first + "\n".join(textwrap.indent(block, "    ") for block in others)
    source = source.replace("nats://127.0.0.1:4222", service.at.nats).replace('"acme"', f'"{label}"')
    code = compile(source, str(DOCUMENTED), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with within("the end of the documented program"):
        await eval(code, {"__name__": "documented"})
    said = capsys.readouterr().out
    assert "succeeded ['validate', 'create_schema'" in said
    assert "Acme Insight was Acme provisioning" in said
    assert "tenant.suspended billing" in said


async def test_the_document_of_the_bus_is_served_to_everybody(service: Running):
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        served = await http.get(f"{service.at.http}/asyncapi.json")
    assert served.status_code == 200
    document = asyncapi_document(Subjects(), Streams(), version("tenant-service"))
    assert msgspec.json.decode(served.content) == document
