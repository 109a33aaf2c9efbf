"""The client on the durable door: what the stream keeps, and how the outcome comes back."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID, uuid4

import pytest
from nats.aio.msg import Msg

from handlers.adapters import jetstream
from handlers.client import NoAnswer, NotAccepted, Request, sending
from handlers.client.durable import BATCH
from handlers.wire import headers as names
from handlers.wire.subjects import is_inbox
from tenant_domain.examples import OPERATION, TENANT
from tenant_domain.refusals import InvalidCommand, SubdomainTaken, Unavailable
from tenant_domain.refusals import NotFound as NothingRecorded
from tenant_domain.tenant.commands import Resume, Suspend
from tests.handlers.client.service import client_of, done, make_streams, reply, serving
from tests.support.bus import Bus, messages_of

COMMAND_ID = UUID("01938f5e-7c00-7000-8000-0000000000c1")


def many(count: int) -> list[Request]:
    """Return commands that can be told apart."""
    return [
        Request(TENANT, Suspend(reason=f"reason {number}"), command_id=uuid4()) for number in range(count)
    ]


async def reasons(bus: Bus) -> list[str]:
    return [json.loads(stored.body)["reason"] for stored in await messages_of(bus.nc, bus.streams.commands)]


async def test_a_command_is_kept_by_the_stream(bus: Bus):
    await make_streams(bus)
    sent = await client_of(bus).send(
        TENANT, "suspend", {"reason": "unpaid"}, command_id=COMMAND_ID, actor="ada"
    )
    (stored,) = await messages_of(bus.nc, bus.streams.commands)
    assert (sent.tenant_id, sent.command_id, sent.sequence) == (TENANT, COMMAND_ID, stored.sequence)
    assert stored.subject.endswith(f".{TENANT}.suspend")
    assert json.loads(stored.body) == {"reason": "unpaid"}
    assert stored.headers == {names.COMMAND_ID: str(COMMAND_ID), names.ACTOR: "ada"}


async def test_without_a_stream_nothing_is_accepted(bus: Bus):
    with pytest.raises(Unavailable, match="is the service running"):
        await client_of(bus).send(TENANT, Resume(), timeout=0.5)


async def test_a_stream_that_is_full_refuses(bus: Bus):
    await make_streams(bus, max_msgs=1)
    client = client_of(bus)
    await client.send(TENANT, Resume())
    with pytest.raises(NotAccepted, match="maximum messages exceeded"):
        await client.send(TENANT, Resume())


async def test_a_stream_that_does_not_answer_may_have_it(bus: Bus):
    async with serving(bus, bus.subjects.command(TENANT, "*"), lambda _: None):
        with pytest.raises(NoAnswer, match=str(COMMAND_ID)):
            await client_of(bus).send(TENANT, Resume(), command_id=COMMAND_ID, timeout=0.3)


# outcomes


async def test_the_outcome_comes_to_the_inbox(bus: Bus):
    await make_streams(bus)

    async def decide(command: Msg) -> None:
        to = (command.headers or {})[names.REPLY_TO]
        assert is_inbox(to)
        await reply(bus, to, command, done(command, version=5, operation_id=OPERATION))

    async with serving(bus, bus.subjects.command(TENANT, "*"), decide):
        sent = await client_of(bus).send(TENANT, Resume(), command_id=COMMAND_ID, reply=True)
        outcome = await sent.outcome()
    assert (outcome.command_id, outcome.version, outcome.operation_id) == (COMMAND_ID, 5, OPERATION)


async def test_outcomes_find_their_commands_in_whatever_order_they_come(bus: Bus):
    await make_streams(bus)
    waiting: list[Msg] = []

    async def decide(command: Msg) -> None:
        waiting.append(command)
        if len(waiting) == 3:
            for version, each in enumerate(reversed(waiting)):
                await reply(bus, (each.headers or {})[names.REPLY_TO], each, done(each, version=version))

    async with serving(bus, bus.subjects.command(TENANT, "*"), decide):
        client = client_of(bus)
        sent = [await client.send(TENANT, Resume(), reply=True) for _ in range(3)]
        outcomes = await asyncio.gather(*(each.outcome() for each in sent))
    assert [outcome.version for outcome in outcomes] == [2, 1, 0]
    assert [outcome.command_id for outcome in outcomes] == [each.command_id for each in sent]


async def test_a_refusal_comes_to_the_inbox(bus: Bus):
    await make_streams(bus)

    async def decide(command: Msg) -> None:
        await reply(bus, (command.headers or {})[names.REPLY_TO], command, SubdomainTaken("Taken."))

    async with serving(bus, bus.subjects.command(TENANT, "*"), decide):
        sent = await client_of(bus).send(TENANT, Resume(), reply=True)
        with pytest.raises(SubdomainTaken):
            await sent.outcome()


@pytest.mark.parametrize("with_inbox", [True, False])
async def test_an_outcome_that_does_not_come_is_asked_for(
    bus: Bus, with_inbox: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sending, "ASK_AGAIN", 0.1)
    await make_streams(bus)
    answers = [NothingRecorded("Not yet."), None, NothingRecorded("Not yet."), done(version=6)]
    async with serving(bus, bus.subjects.query(TENANT, "outcome"), answers) as asked:
        client = client_of(bus, attempt=0.5)
        sent = await client.send(TENANT, Resume(), command_id=COMMAND_ID, reply=with_inbox)
        outcome = await sent.outcome()
    assert (outcome.command_id, outcome.version) == (COMMAND_ID, 6)
    assert {json.loads(query.data)["command_id"] for query in asked} == {str(COMMAND_ID)}


async def test_an_outcome_that_never_comes_is_told_so(bus: Bus):
    await make_streams(bus)
    sent = await client_of(bus).send(TENANT, Resume(), command_id=COMMAND_ID)
    with pytest.raises(NoAnswer, match=str(COMMAND_ID)):
        await sent.outcome(timeout=0.3)


# in bulk


async def test_many_are_kept_in_their_order(bus: Bus):
    await make_streams(bus)
    commands = many(2 * BATCH + 3)
    sent = await client_of(bus).send_many(commands)
    assert [each.sequence for each in sent] == list(range(1, len(commands) + 1))
    assert [each.command_id for each in sent] == [command.command_id for command in commands]
    assert await reasons(bus) == [f"reason {number}" for number in range(len(commands))]


async def test_nothing_is_nothing(bus: Bus):
    assert await client_of(bus).send_many([]) == []


async def test_a_stream_without_atomic_batches_takes_them_one_by_one(bus: Bus):
    await make_streams(bus, allow_atomic=False)
    sent = await client_of(bus).send_many(many(600))
    assert sorted(each.sequence or 0 for each in sent) == list(range(1, 601))
    assert not any(each.error for each in sent)


async def test_what_does_not_fit_any_more_says_so_and_the_rest_is_kept(bus: Bus):
    await make_streams(bus, max_msgs=10)
    sent = await client_of(bus).send_many(many(15))
    kept = [each for each in sent if each.sequence]
    refused = [each for each in sent if not each.sequence]
    assert (len(kept), len(refused)) == (10, 5)
    assert all(isinstance(each.error, NotAccepted) for each in refused)
    with pytest.raises(NotAccepted):
        await refused[0].outcome()


async def test_one_that_is_too_large_takes_no_other_with_it(bus: Bus):
    await make_streams(bus)
    commands = [Request(TENANT, "suspend", {"reason": reason}) for reason in ("a", "x" * 256 * 1024, "b")]
    sent = await client_of(bus).send_many(commands)
    assert [type(each.error) for each in sent] == [type(None), InvalidCommand, type(None)]
    assert sorted(await reasons(bus)) == ["a", "b"]


async def test_without_a_stream_each_says_so(bus: Bus):
    sent = await client_of(bus).send_many(many(3), timeout=0.5)
    assert [type(each.error) for each in sent] == [Unavailable] * 3


async def test_large_ones_go_in_smaller_batches(bus: Bus):
    await make_streams(bus)
    body = {"settings": {"text": "x" * 200_000}}
    sent = await client_of(bus).send_many(Request(TENANT, "update_profile", body) for _ in range(30))
    assert [each.sequence for each in sent] == list(range(1, 31))


async def test_nothing_is_sent_when_one_cannot_be(bus: Bus):
    await make_streams(bus)
    with pytest.raises(ValueError, match="must be a UUID"):
        await client_of(bus).send_many([*many(2), Request("no tenant", "resume")])
    assert (await jetstream.stream_info(bus.nc, bus.streams.commands) or {})["state"]["messages"] == 0
