"""The client on the answered door: what goes out, what comes back, and when it tries again."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from nats.aio.msg import Msg

from handlers.client import NoAnswer, TenantClient
from handlers.client.errors import InvalidArgument
from handlers.wire import headers as names
from tenant_domain.decision import Command
from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.refusals import (
    InvalidCommand,
    OperationInProgress,
    RateLimited,
    Refusal,
    SubdomainTaken,
    Unauthenticated,
    Unavailable,
)
from tenant_domain.tenant.commands import Admin, Suspend
from tests.handlers.client.service import client_of, command_id_of, done, serving
from tests.support.bus import Bus
from tests.support.examples import COMMAND_EXAMPLES
from tests.support.waiting import PATIENCE

COMMAND_ID = UUID("01938f5e-7c00-7000-8000-0000000000c1")


async def test_a_command_goes_to_its_tenant_with_all_that_comes_with_it(bus: Bus):
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), [done()]) as came:
        await client_of(bus).command(
            TENANT,
            "suspend",
            {"reason": "unpaid"},
            command_id=COMMAND_ID,
            expected_version=3,
            actor="Ada Lövelace",
            correlation_id="order-7",
            causation_id="click-1",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
    assert came[0].subject == bus.subjects.rpc(TENANT, "suspend")
    assert json.loads(came[0].data) == {"reason": "unpaid"}
    assert came[0].headers == {
        names.COMMAND_ID: str(COMMAND_ID),
        names.EXPECTED_VERSION: "3",
        names.ACTOR: "Ada Lövelace",
        names.CORRELATION_ID: "order-7",
        names.CAUSATION_ID: "click-1",
        names.TRACEPARENT: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


async def test_a_command_stays_behind_what_the_connection_published_before_it(bus: Bus):
    came: list[str] = []
    client = client_of(bus)

    async def note(message: Msg) -> None:
        came.append(message.subject)

    before = f"{bus.subjects.prefix}.before"
    await bus.nc.subscribe(before, cb=note)
    async with serving(
        bus, bus.subjects.rpc(TENANT, "*"), lambda request: came.append(request.subject) or done(request)
    ):
        await client.command(TENANT, "suspend", {"reason": "unpaid"})
        await bus.nc.publish(before, b"")
        await client.command(TENANT, "suspend", {"reason": "unpaid"})
    suspended = bus.subjects.rpc(TENANT, "suspend")
    assert came == [suspended, before, suspended]


async def test_a_name_that_is_no_part_of_a_subject_is_not_sent(bus: Bus):
    client = client_of(bus)
    async with serving(bus, bus.subjects.rpc(TENANT, ">"), [done()]) as came:
        await client.command(TENANT, "suspend", {"reason": "unpaid"})
        with pytest.raises(InvalidArgument, match="command must be a name"):
            await client.command(TENANT, "suspend\r\nPUB other 0\r\n", {})
        with pytest.raises(InvalidArgument, match="command must be a name"):
            await client.command(TENANT, "suspend other", {})
        await client.command(TENANT, "suspend", {"reason": "unpaid"})
    assert [each.subject for each in came] == [bus.subjects.rpc(TENANT, "suspend")] * 2


async def test_its_outcome_comes_back(bus: Bus):
    def answer(request: Any) -> bytes:
        return done(request, version=3, position=99, operation_id=OPERATION)

    async with serving(bus, bus.subjects.rpc(TENANT, "*"), answer):
        outcome = await client_of(bus).command(str(TENANT), Suspend(reason="unpaid"), command_id=COMMAND_ID)
    assert (outcome.command_id, outcome.tenant_id) == (COMMAND_ID, TENANT)
    assert (outcome.version, outcome.position, outcome.operation_id) == (3, 99, OPERATION)
    assert outcome.result == {"seen": True}


@pytest.mark.parametrize("command", COMMAND_EXAMPLES.values(), ids=str)
async def test_every_form_goes_out_as_its_own_fields(bus: Bus, command: Command):
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), [done()]) as came:
        await client_of(bus).command(TENANT, command)
    assert came[0].subject == bus.subjects.rpc(TENANT, command.name_)
    assert type(command).model_validate_json(came[0].data) == command


async def test_the_convenient_calls_send_the_same(bus: Bus):
    provision = json.loads(COMMAND_EXAMPLES["provision"].model_dump_json())
    update = json.loads(COMMAND_EXAMPLES["update_profile"].model_dump_json())
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), lambda request: done(request)) as came:
        client = client_of(bus)
        await client.provision(tenant_id=TENANT, **provision)
        await client.update_profile(TENANT, **update)
        await client.suspend(TENANT, "Invoice 2026-10 is unpaid.")
        await client.resume(TENANT)
        await client.upgrade(TENANT, "enterprise", effective="period_end")
        await client.terminate(TENANT, "acme", reason="The contract has ended.", retain_days=30)
        await client.cancel_termination(TENANT)
        await client.place_legal_hold(TENANT, "Case 2026/117 is open.")
        await client.release_legal_hold(TENANT)
        await client.retry_operation(TENANT, OPERATION)
        await client.cancel_operation(TENANT, str(OPERATION))
        await client.compensate_operation(TENANT, OPERATION)
        await client.rerun_operation(TENANT, OPERATION, "notify")
    sent = {message.subject.rsplit(".", 1)[1]: message.data or b"{}" for message in came}
    assert {
        name: type(form).model_validate_json(sent[name]) for name, form in COMMAND_EXAMPLES.items()
    } == COMMAND_EXAMPLES
    assert len(came) == len(COMMAND_EXAMPLES)


async def test_provisioning_makes_up_a_tenant_id_and_leaves_out_what_is_not_given(bus: Bus):
    async with serving(bus, bus.subjects.rpc("*", "provision"), lambda request: done(request)) as came:
        admin = Admin(email="ada@acme.example", name="Ada")
        outcome = await client_of(bus).provision(name="Acme", subdomain="acme", admin=admin)
    assert outcome.tenant_id.version == 7
    assert came[0].subject == bus.subjects.rpc(outcome.tenant_id, "provision")
    assert set(json.loads(came[0].data)) == {"name", "subdomain", "admin"}


# refusals


async def test_a_refusal_is_raised_as_what_it_is(bus: Bus):
    refusals = [SubdomainTaken("Taken.", subdomain="acme"), OperationInProgress("Held.", operation_id="x")]
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), refusals):
        with pytest.raises(SubdomainTaken, match="Taken") as taken:
            await client_of(bus).resume(TENANT)
        with pytest.raises(OperationInProgress) as held:
            await client_of(bus).resume(TENANT)
    assert taken.value.extra == {"subdomain": "acme"}
    assert held.value.extra == {"operation_id": "x"}


async def test_a_refusal_of_a_later_version_of_the_service_is_a_refusal(bus: Bus):
    kind: Any = type("Moon", (Refusal,), {"problem": "full-moon", "status": 409, "title": "The moon is full"})
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), [kind("Not tonight.", phase=1)]):
        with pytest.raises(Refusal, match="Not tonight") as refused:
            await client_of(bus).resume(TENANT)
    assert (refused.value.problem, refused.value.status, refused.value.extra) == (
        "full-moon",
        409,
        {"phase": 1},
    )


async def test_an_error_without_a_body_is_a_refusal_too(bus: Bus):
    async def refuse(request: Any) -> None:
        headers = {names.ERROR: "forbidden", names.ERROR_CODE: "403"}
        await bus.nc.publish(request.reply, b"no", headers=headers)

    async with serving(bus, bus.subjects.rpc(TENANT, "*"), refuse):
        with pytest.raises(Refusal) as refused:
            await client_of(bus).resume(TENANT)
    assert (refused.value.problem, refused.value.status) == ("forbidden", 403)


# trying again


@pytest.mark.parametrize(
    "first",
    [None, Unavailable("Down."), Unavailable("Down.", retry_after=0.01), RateLimited("Slow.", retry_after=0)],
)
async def test_it_is_sent_again_with_the_same_id(bus: Bus, first: Any):
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), [first, first, done()]) as came:
        await client_of(bus, attempt=10.0 if first else 0.4).suspend(TENANT, "unpaid")
    assert len(came) == 3
    assert len({(command_id_of(message), message.data) for message in came}) == 1


async def test_a_service_that_is_not_there_yet_is_waited_for(bus: Bus):
    asked = asyncio.create_task(client_of(bus).resume(TENANT))
    await bus.nc.flush()
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), lambda request: done(request)):
        await asked


async def test_a_refusal_is_not_asked_for_again(bus: Bus):
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), lambda _: SubdomainTaken("Taken.")) as came:
        with pytest.raises(SubdomainTaken):
            await client_of(bus).resume(TENANT)
    assert len(came) == 1


async def test_a_wait_that_takes_too_long_is_not_begun(bus: Bus):
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), [RateLimited("Slow down.", retry_after=60)]):
        with pytest.raises(RateLimited) as refused:
            await client_of(bus).resume(TENANT)
    assert refused.value.extra == {"retry_after": 60}


async def test_who_gets_no_answer_is_told_what_to_ask_for(bus: Bus):
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), lambda _: None) as came:
        with pytest.raises(NoAnswer, match=str(COMMAND_ID)) as unknown:
            await client_of(bus, attempt=0.1).resume(TENANT, command_id=COMMAND_ID, timeout=0.8)
    assert (unknown.value.tenant_id, unknown.value.command_id) == (TENANT, COMMAND_ID)
    assert isinstance(unknown.value, TimeoutError)
    assert len(came) > 1


async def test_a_command_that_nobody_took_was_not_done(bus: Bus):
    with pytest.raises(Unavailable, match="is the service running"):
        await client_of(bus).resume(TENANT, timeout=0.5)


async def test_a_command_that_may_have_been_done_is_never_said_not_to_be(bus: Bus):
    answers = [None, *[Unavailable("Down.")] * 100]
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), answers):
        with pytest.raises(NoAnswer):
            await client_of(bus, attempt=0.2).resume(TENANT, timeout=0.6)


# what is not sent at all


async def test_a_body_that_is_too_large_is_refused_at_once(bus: Bus):
    with pytest.raises(InvalidCommand, match="262144"):
        await client_of(bus).suspend(TENANT, "x" * 256 * 1024)


async def test_a_header_cannot_be_smuggled_in(bus: Bus):
    with pytest.raises(ValueError, match="actor"):
        await client_of(bus).resume(TENANT, actor="me\r\nCommand-Id: other")


async def test_a_form_has_its_body_already(bus: Bus):
    with pytest.raises(ValueError, match="already"):
        await client_of(bus).command(TENANT, Suspend(reason="unpaid"), {"reason": "other"})


async def test_a_tenant_is_a_uuid(bus: Bus):
    with pytest.raises(ValueError, match="must be a UUID"):
        await client_of(bus).resume("acme.>")


# connecting


async def test_a_client_connects_and_leaves_nothing_behind(nats_url: str, bus: Bus):
    before = asyncio.all_tasks()
    async with serving(bus, bus.subjects.rpc(TENANT, "*"), lambda request: done(request)) as came:
        own = f"_INBOX_{uuid4().hex}"
        async with TenantClient.connect(nats_url, prefix=bus.subjects.prefix, inbox_prefix=own) as client:
            await client.resume(TENANT)
    assert came[0].reply.startswith(f"{own}.")
    await all_ended(before)


async def test_a_server_that_is_not_there_is_told():
    before = asyncio.all_tasks()
    with pytest.raises(Unavailable, match="is the URL right"):
        async with TenantClient.connect("nats://127.0.0.1:1", timeout=0.3):
            pass
    await all_ended(before)


async def test_wrong_credentials_are_told(nats_url: str):
    host = nats_url.rpartition("@")[2]
    before = asyncio.all_tasks()
    with pytest.raises(Unauthenticated):
        async with TenantClient.connect(f"nats://nobody:wrong@{host}"):
            pass
    await all_ended(before)


async def all_ended(before: set[asyncio.Task[Any]]) -> None:
    """The tasks begun since `before` end: nats-py has cancelled them, and does not wait for it."""
    if begun := asyncio.all_tasks() - before:
        assert not (await asyncio.wait(begun, timeout=PATIENCE))[1]
