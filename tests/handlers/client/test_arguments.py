"""What a call cannot mean is refused at once, as what it is, and nothing is sent."""

import math
from collections.abc import Awaitable, Callable
from typing import Any, cast
from uuid import UUID

import pytest

from handlers.client import ClientClosed, InvalidArgument, Request, TenantClient
from tests.handlers.client.service import client_of, done, serving
from tests.support.bus import Bus
from tests.support.waiting import within

TENANT = UUID("0193a000-0000-7000-8000-0000000000aa")
OPERATION = UUID("0193a000-0000-7000-8000-0000000000bb")

Call = Callable[[Any], Any]
"""A call of the client, given as Any: a program that nobody checked may give it anything."""


async def made(call: Call, client: TenantClient) -> None:
    """Call, and wait for what comes of it, or for its first item."""
    made = call(client)
    if isinstance(made, Awaitable):
        await made
    else:
        await anext(made)


CALLS: dict[str, tuple[Call, str]] = {
    "no id": (lambda c: c.tenant("acme"), "tenant_id must be a UUID, not 'acme'.*by_subdomain"),
    "no tenant": (lambda c: c.resume(None), "tenant_id must be a UUID, not None"),
    "an empty id": (lambda c: c.provision(tenant_id="", name="A", subdomain="a", admin={}), "tenant_id"),
    "no id of an operation": (lambda c: c.operation(TENANT, "x"), "operation_id must be a UUID"),
    "no operation to wait for": (lambda c: c.wait_for_operation(TENANT, 7), "operation_id must be a UUID"),
    "no operation to retry": (lambda c: c.retry_operation(TENANT, "x"), "operation_id must be a UUID"),
    "no id of a command": (lambda c: c.resume(TENANT, command_id="seven"), "command_id must be a UUID"),
    "no command to look up": (lambda c: c.outcome(TENANT, "x"), "command_id must be a UUID"),
    "no id of many": (lambda c: c.control_operations("retry", kind="upgrade", bulk_id=7), "bulk_id"),
    "no control": (lambda c: c.control_operations("retri", kind="upgrade"), "retry, cancel, compensate"),
    "one type for many": (lambda c: c.subscribe(types="tenant.activated"), r"list .* not 'tenant.activated'"),
    "no types": (lambda c: c.subscribe(types=[]), "types must be a list"),
    "types that are none": (lambda c: c.history(TENANT, types=[7]), "types must be a list"),
    "events of no tenant": (lambda c: c.subscribe(tenant_id="acme"), "tenant_id must be a UUID"),
    "a position as text": (lambda c: c.subscribe(from_position="1"), "from_position must be a whole number"),
    "a position before all": (lambda c: c.subscribe(from_position=0), "from_position .* 1 or more"),
    "a version as text": (lambda c: c.resume(TENANT, expected_version="7"), "expected_version"),
    "a version before all": (lambda c: c.resume(TENANT, expected_version=-1), "expected_version"),
    "no time": (lambda c: c.resume(TENANT, timeout=0), "timeout must be a number of seconds above 0, not 0"),
    "a negative time": (lambda c: c.tenant(TENANT, timeout=-1), "timeout"),
    "a time that is no number": (lambda c: c.send(TENANT, "resume", timeout=math.nan), "timeout"),
    "a time as text": (lambda c: c.send_many([], timeout="5"), "timeout"),
    "no time to wait": (lambda c: c.wait_for_operation(TENANT, OPERATION, timeout=0), "timeout"),
    "no name of a command": (lambda c: c.command(TENANT, "update profile", {}), "command must be a name"),
    "a command that is none": (lambda c: c.command(TENANT, None, {}), "command must be a name"),
    "no name of a query": (lambda c: c.query(TENANT, "a.b"), "query must be a name"),
    "a body that is none": (lambda c: c.command(TENANT, "resume", ["x"]), "body must be an object"),
    "no number": (lambda c: c.update_profile(TENANT, settings={"x": [math.nan]}), "NaN"),
    "what JSON cannot say": (lambda c: c.update_profile(TENANT, settings={"x": object()}), "JSON"),
    "half a character": (lambda c: c.suspend(TENANT, "\ud800"), "JSON"),
    "a query of odd fields": (lambda c: c.query(TENANT, "tenant", x=object()), "JSON"),
    "an actor that is no text": (lambda c: c.resume(TENANT, actor=7), "actor must be a text"),
    "half an actor": (lambda c: c.resume(TENANT, actor="\ud800"), "actor must be a text"),
    "many that are none": (lambda c: c.send_many([("x", "resume")]), "Request, not a tuple"),
    "one of many": (lambda c: c.send_many([Request(TENANT, "resume"), Request("x", "resume")]), "tenant_id"),
}


@pytest.mark.parametrize(("call", "told"), CALLS.values(), ids=CALLS.keys())
async def test_what_a_call_cannot_mean_is_refused_and_nothing_is_sent(bus: Bus, call: Call, told: str):
    async with serving(bus, f"{bus.subjects.prefix}.>", lambda request: done(request)) as came:
        with pytest.raises(InvalidArgument, match=told):
            await made(call, client_of(bus))
        await bus.nc.flush()
        assert came == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:4222", "http://", "", "nats://", "nats://h:port", "nats://a:1,", [], [7], None, "a b"],
)
async def test_what_is_no_url_of_a_server_is_refused_without_a_wait(url: Any):
    async with within("the refusal of a URL"):
        with pytest.raises(InvalidArgument, match="nats://"):
            async with TenantClient.connect(url, timeout=math.inf):
                pass


async def test_a_refused_url_is_not_told_with_its_password():
    with pytest.raises(InvalidArgument) as refused:
        async with TenantClient.connect("http://ada:secret@host"):
            pass
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("given", [{"timeout": 0}, {"attempt": -1}, {"prefix": "tenants.>"}, {"prefix": ""}])
async def test_a_client_is_not_made_with_what_it_cannot_use(bus: Bus, given: dict[str, Any]):
    with pytest.raises(InvalidArgument, match=next(iter(given))):
        TenantClient(bus.nc, **given)
    with pytest.raises(InvalidArgument, match=next(iter(given))):
        async with TenantClient.connect("nats://127.0.0.1:1", **given):
            pass


AFTERWARDS: dict[str, Call] = {
    "a command": lambda c: c.resume(TENANT),
    "a command that is stored": lambda c: c.send(TENANT, "resume", reply=True),
    "many": lambda c: c.send_many([Request(TENANT, "resume")] * 2),
    "a query": lambda c: c.tenant(TENANT),
    "pages": lambda c: c.fleet_tenants(),
    "events": lambda c: c.subscribe(),
    "an operation": lambda c: c.wait_for_operation(TENANT, OPERATION),
    "many operations": lambda c: c.control_operations("retry", kind="upgrade"),
}


@pytest.mark.parametrize("call", AFTERWARDS.values(), ids=AFTERWARDS.keys())
async def test_a_closed_client_says_so(nats_url: str, call: Call):
    async with TenantClient.connect(nats_url) as client:
        pass
    with pytest.raises(ClientClosed, match="async with"):
        await made(call, client)


async def test_a_client_that_is_closed_while_it_reads_says_so(nats_url: str, bus: Bus):
    async with TenantClient.connect(nats_url, prefix=bus.subjects.prefix, streams=bus.streams) as client:
        events = client.subscribe()
        reading = cast("Awaitable[Any]", anext(events))
        await cast(Any, client)._link.nc.close()
        with pytest.raises(ClientClosed):
            await reading
