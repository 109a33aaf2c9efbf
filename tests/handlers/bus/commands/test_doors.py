"""Both doors: outcomes, refusals, dead letters, and one ledger behind them."""

import asyncio
import json
import socket
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import nats.errors
import pytest

from handlers.bus.commands import CommandsRole
from handlers.bus.connection import flush
from handlers.store.event_store import EventStore
from tests.handlers.bus.commands.service import (
    Caller,
    active_tenants,
    dead_letters,
    numbers,
    outcome,
    problem,
    provisioning,
)
from tests.support.bus import Bus
from tests.support.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("role")


async def test_a_command_is_answered_after_its_commit(caller: Caller, store: EventStore) -> None:
    tenant, command_id = uuid4(), uuid4()
    reply = await caller.ask(tenant, "provision", provisioning(tenant), command_id)
    assert problem(reply) is None
    assert outcome(reply)["position"] == await store.head() == 3
    assert (tenant, command_id) in await store.recorded([(tenant, command_id)])


async def test_the_outcome_of_a_durable_command_goes_to_its_inbox(caller: Caller, store: EventStore) -> None:
    tenant, command_id = uuid4(), uuid4()
    reply = await (await caller.put(tenant, "provision", provisioning(tenant), command_id))
    assert problem(reply) is None
    assert outcome(reply)["command_id"] == str(command_id)
    assert await store.head() == 3


async def test_whichever_door_a_command_comes_through_its_outcome_is_the_same(
    caller: Caller, store: EventStore
) -> None:
    tenant, made, refused = uuid4(), uuid4(), uuid4()
    first = await caller.ask(tenant, "provision", provisioning(tenant), made)
    reordered = dict(reversed(provisioning(tenant).items()))
    again = await (await caller.put(tenant, "provision", reordered, made))
    assert again.data == first.data

    no = await (await caller.put(tenant, "suspend", {"reason": "early"}, refused))
    no_again = await caller.ask(tenant, "suspend", {"reason": "early"}, refused)
    assert problem(no) == "operation-in-progress"
    assert (no_again.data, no_again.headers) == (no.data, no.headers)
    assert await store.head() == 3


async def test_a_command_id_that_stands_for_another_command_is_refused_at_both_doors(caller: Caller) -> None:
    tenant, command_id = uuid4(), uuid4()
    await caller.ask(tenant, "provision", provisioning(tenant), command_id)
    other = {**provisioning(tenant), "name": "Other"}
    assert problem(await caller.ask(tenant, "provision", other, command_id)) == "command-id-reused"
    assert problem(await (await caller.put(tenant, "resume", b"", command_id))) == "command-id-reused"


async def test_an_id_is_made_up_at_the_answered_door(caller: Caller, bus: Bus) -> None:
    tenant = uuid4()
    reply = await bus.nc.request(
        bus.subjects.rpc(tenant, "provision"), json.dumps(provisioning(tenant)).encode(), timeout=PATIENCE
    )
    assert UUID(outcome(reply)["command_id"]).version == 4


REFUSED: list[tuple[str, str, bytes, dict[str, str], str, str | None]] = [
    ("*", "provision", b"", {}, "invalid-command", "name"),
    ("*", "provision", b"{", {}, "invalid-command", "body"),
    ("*", "provision", b'{"name": "a", "name": "b"}', {}, "invalid-command", "name"),
    ("*", "suspend", b'{"reason": "r", "colour": "red"}', {}, "invalid-command", "colour"),
    ("*", "suspend", b'{"reason": 7}', {}, "invalid-command", "reason"),
    ("*", "suspend", b'{"reason": "%s"}' % (b"x" * 300_000), {}, "invalid-command", "body"),
    ("*", "resume", b"", {"Expected-Version": "new"}, "invalid-command", "Expected-Version"),
    ("*", "resume", b"", {"Command-Id": "17"}, "invalid-command", "Command-Id"),
    ("*", "resume", b"", {"Actor": "x" * 300}, "invalid-command", "Actor"),
    ("NOBODY", "resume", b"", {}, "invalid-command", "tenant_id"),
    ("*", "reboot", b"", {}, "unknown-command", None),
    ("*", "resume", b"", {"Expected-Version": "3"}, "tenant-not-found", None),
]


@pytest.mark.parametrize("door", ["answered", "durable"])
@pytest.mark.parametrize(("tenant", "command", "body", "headers", "name", "field"), REFUSED)
async def test_what_does_not_fit_is_refused_with_the_field_named(
    caller: Caller,
    migrated: str,
    door: str,
    tenant: str,
    command: str,
    body: bytes,
    headers: dict[str, str],
    name: str,
    field: str | None,
) -> None:
    token = str(uuid4()) if tenant == "*" else tenant
    given: dict[str, Any] = {each.replace("-", "_"): value for each, value in headers.items()}
    if door == "answered":
        reply = await caller.ask(token, command, body, **given)
    else:
        reply = await (await caller.put(token, command, body, **given))

    assert problem(reply) == name
    errors = outcome(reply)["error"].get("errors", [{"field": None}])
    assert field in [error["field"] for error in errors]
    letters = await dead_letters(migrated)
    if door == "durable":
        [(letter_tenant, stream, sequence, reason, subject, kept, text, error)] = letters
        assert letter_tenant == ("unknown" if tenant == "NOBODY" else token)
        assert (stream, sequence, reason, text) == (caller.bus.streams.commands, 1, name, body)
        assert subject == caller.bus.subjects.command(token, command)
        assert json.loads(kept)["Reply-To"].startswith("_INBOX.")
        assert json.loads(error) == outcome(reply)["error"]
    else:
        assert letters == []


async def test_the_durable_door_wants_a_command_id(caller: Caller, bus: Bus, migrated: str) -> None:
    await bus.nc.jetstream(timeout=PATIENCE).publish(bus.subjects.command(uuid4(), "resume"), b"")

    async def written() -> bool:
        return len(await dead_letters(migrated)) == 1

    await until(written)
    [letter] = await dead_letters(migrated)
    assert "Command-Id" in letter[7]


async def test_replies_go_to_inboxes_only(caller: Caller, bus: Bus, store: EventStore, migrated: str) -> None:
    forged = f"{bus.subjects.prefix}.forged"
    heard = await bus.nc.subscribe(forged)
    tenant = uuid4()
    body = json.dumps(provisioning(tenant)).encode()

    await bus.nc.publish(bus.subjects.rpc(tenant, "provision"), body, reply=forged)
    await bus.nc.publish(bus.subjects.rpc(tenant, "provision"), body)
    refused = await caller.put(uuid4(), "resume", b"", Reply_To=forged)
    after = await (await caller.put(uuid4(), "resume"))

    async def written() -> bool:
        return len(await dead_letters(migrated)) == 2

    await until(written)
    assert "Reply-To" in next(
        letter[7] for letter in await dead_letters(migrated) if letter[3] == "invalid-command"
    )
    assert problem(after) == "tenant-not-found"
    with pytest.raises(nats.errors.TimeoutError):
        await heard.next_msg(timeout=0.05)
    assert not refused.done()
    assert await store.head() == 0


@pytest.mark.parametrize("rest", ["lonely", "a.b.c", "018f4d7e-0c5b-7c4e-9b1e-3f1a2b3c4d5e.resume.now"])
async def test_a_subject_of_another_form_is_answered_too(bus: Bus, rest: str) -> None:
    reply = await bus.nc.request(f"{bus.subjects.prefix}.rpc.{rest}", b"", timeout=PATIENCE)
    assert problem(reply) == "invalid-command"


async def test_odd_bytes_of_one_caller_do_not_end_the_service(
    caller: Caller, bus: Bus, nats_url: str, migrated: str
) -> None:
    where = urlsplit(nats_url)
    with socket.create_connection((where.hostname, where.port)) as raw:
        raw.recv(4096)
        login = {"verbose": False, "user": where.username, "pass": where.password, "headers": True}
        raw.sendall(b"CONNECT " + json.dumps(login).encode() + b"\r\n")
        prefix = bus.subjects.prefix.encode()
        for door in (b"rpc", b"commands"):
            for tokens in (b"a.\xff\xfe", b"\xff.resume", b"a.b\x00c"):
                raw.sendall(b"PUB " + prefix + b"." + door + b"." + tokens + b" _INBOX.\xff 2\r\n{}\r\n")
            for block in (
                b"NATS/1.0 \xff\xff\xff \xff\r\n\r\n",
                b"NATS/1.0 408 Request Timeout\r\n\r\n",
                b"NATS/1.0 503\r\n\r\n",
                b"NATS/1.0\r\nA\xff: b\xff\r\nB\r\n: c\r\n\r\n",
                b"NATS/1.0",
                b"garbage",
            ):
                size = b" %d %d\r\n" % (len(block), len(block))
                raw.sendall(b"HPUB " + prefix + b"." + door + b".a.b _INBOX.x" + size + block + b"\r\n")
        raw.sendall(b"PING\r\n")
        told = b""
        while b"PONG\r\n" not in told:  # the server may say more in the same breath
            told += raw.recv(4096)

    tenant = uuid4()
    reply = await (await caller.put(tenant, "provision", provisioning(tenant)))
    assert problem(reply) is None
    assert problem(await caller.ask(tenant, "resume")) == "operation-in-progress"

    async def written() -> bool:
        return len(await dead_letters(migrated)) == 9

    await until(written)
    assert {letter[0] for letter in await dead_letters(migrated)} == {"unknown"}


async def test_durable_commands_of_a_tenant_are_decided_in_order(
    caller: Caller, store: EventStore, migrated: str
) -> None:
    tenants = await active_tenants(store, caller, 4)
    commands = [
        (tenant, "update_profile", {"settings": {"number": number}})
        for number in range(300)
        for tenant in tenants
    ]
    await caller.pour(commands)

    async def all_done() -> bool:
        return await store.head() >= 4 * 4 + len(commands)

    await until(all_done)
    for tenant in tenants:
        assert await numbers(store, tenant) == list(range(300))
    assert await dead_letters(migrated) == []


async def test_a_large_command_does_not_stop_its_partition(caller: Caller, store: EventStore) -> None:
    [tenant] = await active_tenants(store, caller)
    text = "x" * 250_000
    replies = [
        await caller.put(
            tenant,
            "update_profile",
            {"settings": {"number": number}, "metadata": {"text": f"{number}{text}"}},
        )
        for number in range(20)
    ]
    assert [problem(reply) for reply in await asyncio.gather(*replies)] == [None] * 20
    assert await numbers(store, tenant) == list(range(20))


async def test_stopping_settles_what_came_in(role: CommandsRole, caller: Caller, store: EventStore) -> None:
    tenants = [uuid4() for _ in range(200)]
    asking = [asyncio.create_task(caller.ask(each, "provision", provisioning(each))) for each in tenants]
    first = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    assert first[0]

    await role.stop()

    provisioned = await store.head() // 3

    async def answered() -> bool:
        return sum(each.done() for each in asking) >= provisioned

    await until(answered)
    await flush(caller.nc)
    completed = [each.result() for each in asking if each.done() and each.exception() is None]
    assert sum(problem(reply) is None for reply in completed) == provisioned
    for each in asking:
        each.cancel()
