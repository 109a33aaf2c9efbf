"""What was given up stands in TENANT_DEAD_LETTERS once, as it was, with the reason; and can be sent again."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from nats.js.api import AckPolicy
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from handlers.adapters import jetstream
from handlers.bus import dead_letters
from handlers.bus.dead_letters import Letter, NotReplayable
from handlers.bus.streams import Limits, declare
from handlers.relay.dead_letters import DeadLetterRelay
from handlers.relay.letter_places import LetterPlaces
from handlers.relay.metrics import RelayMetrics
from handlers.relay.role import RelayRole
from handlers.store.batch import Batch, DeadLetterRow
from handlers.store.event_store import EventStore
from handlers.wire.dead_letters import DeadLetter, packed, unpacked
from handlers.wire.headers import COMMAND_ID
from tests.handlers.relay.relays import assert_mirrors, reached
from tests.support.bus import Bus, messages_of, own_names
from tests.support.keys import keyring_of
from tests.support.log import facts
from tests.support.snapshots import Copy, copied, put_back
from tests.support.waiting import PATIENCE, until, within

TENANT = UUID("0192f0a0-0000-7000-8000-000000000001")
PROBLEM = {"type": "/problems/invalid-command", "title": "Invalid", "status": 422, "detail": "plán: unknown"}


def a_row(bus: Bus, **given: Any) -> DeadLetterRow:
    row = DeadLetterRow(
        id=uuid4(),
        tenant=str(TENANT),
        stream=bus.streams.commands,
        sequence=7,
        reason="invalid-command",
        subject=bus.subjects.command(TENANT, "provision"),
        headers=json.dumps({"Command-Id": "c-1", "Actor": "svc"}),
        body=b'{"plan": ',
        error=json.dumps(PROBLEM),
        group=0,
    )
    return row._replace(**given)


@asynccontextmanager
async def role(bus: Bus, store: EventStore) -> AsyncGenerator[None]:
    running = RelayRole(
        bus.nc,
        store,
        keyring_of(store),
        bus.subjects,
        bus.streams,
        partial(declare, *bus, Limits()),
        poll=0.05,
        metrics=RelayMetrics(CollectorRegistry()),
    )
    await running.start()
    try:
        yield
    finally:
        await running.stop()


async def listed(bus: Bus, count: int, **asked: Any) -> list[Letter]:
    """Return the dead letters, once there are so many."""

    async def enough() -> bool:
        return len(await dead_letters.letters(*bus, **asked)) >= count

    await until(enough)
    return await dead_letters.letters(*bus, **asked)


async def opened(letter: Letter, store: EventStore) -> DeadLetter:
    """Return a letter as it was sent; it is sealed where it stands."""
    assert letter.letter.body.startswith(b"sealed:")
    return (await dead_letters.opened(letter, lambda: keyring_of(store))).letter


async def test_a_letter_is_what_was_sent_and_why_it_was_given_up(bus: Bus, store: EventStore) -> None:
    row = a_row(bus)
    await store.append(Batch(dead_letters=[row]))
    async with role(bus, store):
        [letter] = await listed(bus, 1)
    [message] = await messages_of(bus.nc, bus.streams.dead_letters)
    subject = f"{bus.subjects.prefix}.dead.{TENANT}.{bus.streams.commands}.invalid-command"
    assert (message.subject, message.body) == (subject, b'{"plan": ')
    assert message.headers["Nats-Msg-Id"] == str(row.id)
    assert message.headers["Command-Id"] == "c-1"
    assert message.headers["Dead-Letter-Subject"] == row.subject
    assert json.loads(message.headers["Dead-Letter-Error"]) == PROBLEM
    assert (letter.number, letter.tenant) == (1, str(TENANT))
    dead = letter.letter
    assert (dead.id, dead.stream, dead.sequence) == (str(row.id), row.stream, 7)
    assert (dead.reason, dead.error, dead.body) == ("invalid-command", PROBLEM, row.body)
    assert dead.headers == {"Command-Id": "c-1", "Actor": "svc"}


async def test_headers_that_would_steer_the_server_or_cannot_stand_are_kept_apart(
    bus: Bus, store: EventStore
) -> None:
    headers = {
        "Nats-Msg-Id": "theirs",
        "Nats-Rollup": "all",
        "nats-expected-last-sequence": "999",
        "Dead-Letter-Reason": "forged",
        "Actor": "Jürgen\r\nX: y",
        "bad name\x00": "v",
        "Empty": "",
        "Plain": "stays",
    }
    await store.append(Batch(dead_letters=[a_row(bus, headers=json.dumps(headers))]))
    async with role(bus, store):
        [letter] = await listed(bus, 1)
    [message] = await messages_of(bus.nc, bus.streams.dead_letters)
    assert message.headers["Plain"] == "stays"
    assert message.headers["Dead-Letter-Reason"] == "invalid-command"
    assert not {"X", "Nats-Rollup", "Actor"} & message.headers.keys()
    assert letter.letter.headers == headers


async def test_a_letter_too_large_for_the_server_is_told_without_its_body(
    bus: Bus, store: EventStore
) -> None:
    large = a_row(bus, body=b"x" * 1024 * 1024)
    error = {**PROBLEM, "errors": [{"field": f"f{n}", "detail": "unknown"} for n in range(10_000)]}
    verbose = a_row(bus, error=json.dumps(error))
    await store.append(Batch(dead_letters=[large, verbose]))
    async with role(bus, store):
        found = {letter.letter.id: letter.letter for letter in await listed(bus, 2)}
    assert (found[str(large.id)].body, found[str(large.id)].omitted) == (b"", "body")
    kept = found[str(verbose.id)]
    assert (kept.error["status"], kept.body, kept.omitted) == (422, verbose.body, "")


@pytest.fixture
def bus_names() -> tuple[Any, Any]:
    return own_names()


async def rows_of(store: EventStore) -> dict[str, tuple[Any, ...]]:
    """Return of each letter in the database: whether it was published, what was omitted, and its body."""
    async with store.transaction() as transaction:
        cursor = await transaction.connection.execute(
            "SELECT id::text, published_at IS NOT NULL, omitted, body FROM service.dead_letters"
        )
        return {row[0]: row[1:] for row in await cursor.fetchall()}


async def test_headers_that_grow_too_large_when_they_are_written_here_are_left_out(
    bus: Bus, store: EventStore
) -> None:
    odd = a_row(bus, headers=json.dumps({"X-Name": "é" * 12_000, "Command-Id": "c-1"}), body=b"{}")
    plain = a_row(bus, headers=json.dumps({f"X-{n}": "x" * 1000 for n in range(70)}))
    after = a_row(bus)
    await store.append(Batch(dead_letters=[odd, plain, after]))
    async with role(bus, store):
        found = {letter.letter.id: letter.letter for letter in await listed(bus, 3)}
    for row in (odd, plain):
        letter = found[str(row.id)]
        assert (dict(letter.headers), letter.body, letter.omitted) == ({}, row.body, "headers")
    assert found[str(after.id)].omitted == ""


async def limit_letters(bus: Bus, size: int) -> None:
    info = await jetstream.stream_info(bus.nc, bus.streams.dead_letters)
    assert info is not None
    config = info["config"] | {"max_msg_size": size}
    await jetstream.call(bus.nc, f"STREAM.UPDATE.{bus.streams.dead_letters}", config)


async def test_letters_that_the_stream_refuses_go_out_in_part_and_hold_up_no_others(
    bus: Bus, store: EventStore
) -> None:
    await limit_letters(bus, 5000)
    refused = [a_row(bus, body=b"x" * 6000) for _ in range(60)]
    await store.append(Batch(dead_letters=refused))
    last = a_row(bus)
    await store.append(Batch(dead_letters=[last]))
    async with role(bus, store):
        found = {letter.letter.id: letter.letter for letter in await listed(bus, 61, limit=100)}
    assert found[str(last.id)].omitted == ""
    rows = await rows_of(store)
    for row in refused:
        letter = found[str(row.id)]
        assert (letter.omitted, letter.body) == ("headers, body, error, subject", b"")
        assert (letter.stream, letter.sequence, letter.reason) == (row.stream, row.sequence, row.reason)
        assert rows[str(row.id)] == (True, letter.omitted, row.body)  # the whole of it stays


async def test_letters_that_the_stream_never_takes_hold_up_no_others(bus: Bus, store: EventStore) -> None:
    await limit_letters(bus, 700)
    refused = [a_row(bus, stream="S" * 500) for _ in range(60)]
    await store.append(Batch(dead_letters=refused))
    await store.append(Batch(dead_letters=[last := a_row(bus, stream="S")]))
    async with role(bus, store):
        [letter] = await listed(bus, 1)
    assert letter.letter.id == str(last.id)
    rows = await rows_of(store)
    assert not any(rows[str(row.id)][0] for row in refused)


async def test_what_went_out_in_part_is_not_forgotten(bus: Bus, store: EventStore) -> None:
    relay = DeadLetterRelay(
        *(bus.nc, store, bus.subjects, bus.streams, partial(declare, *bus, Limits())),
        retention=0,
        metrics=RelayMetrics(CollectorRegistry()),
    )
    large = a_row(bus, body=b"x" * 1024 * 1024)
    await store.append(Batch(dead_letters=[large, a_row(bus)]))
    assert await relay.publish() == 2
    assert await relay.forget() == 1
    assert list(await rows_of(store)) == [str(large.id)]


@pytest.mark.parametrize("largest", [1000, 3000, 1024 * 1024])
def test_a_letter_always_fits(bus_names: tuple[Any, Any], largest: int) -> None:
    subjects, _ = bus_names
    letter = DeadLetter(
        id=str(uuid4()),
        stream="TENANT_COMMANDS",
        sequence=7,
        subject=subjects.command(TENANT, "é" * 3000),
        reason="invalid-command",
        time="2026-11-30T10:00:00+00:00",
        error={**PROBLEM, "errors": ["é" * 2000]},
        headers={f"X-{n}": "é" * 4000 for n in range(4)},
        body=b"x" * 2000,
    )
    headers, body = packed(letter, largest)
    size = sum(len(name) + len(value) + 4 for name, value in headers.items())
    assert size + len(body) <= largest
    assert size < 64 * 1024
    assert unpacked(headers, body).id == letter.id


async def test_reasons_and_names_are_made_tokens_of_the_subject(bus: Bus, store: EventStore) -> None:
    rows = [a_row(bus, tenant="unknown", reason="a b.*>"), a_row(bus, reason="")]
    await store.append(Batch(dead_letters=rows))
    async with role(bus, store):
        await listed(bus, 2)
    subjects = {m.subject.rsplit(".", 3)[1] for m in await messages_of(bus.nc, bus.streams.dead_letters)}
    reasons = {m.subject.rsplit(".", 1)[1] for m in await messages_of(bus.nc, bus.streams.dead_letters)}
    assert (subjects, reasons) == ({"unknown", str(TENANT)}, {"a-b-", "unknown"})


async def test_many_letters_stand_once_though_several_relays_publish_them(
    bus: Bus, store: EventStore
) -> None:
    await store.append(Batch(dead_letters=[a_row(bus, sequence=n) for n in range(120)]))
    async with role(bus, store), role(bus, store), role(bus, store):
        assert len(await listed(bus, 120, limit=200)) == 120
    sequences = [letter.letter.sequence for letter in await dead_letters.letters(*bus, limit=200)]
    assert sorted(sequences) == list(range(120))


async def test_a_letter_whose_mark_was_lost_is_not_published_twice(bus: Bus, store: EventStore) -> None:
    await store.append(Batch(dead_letters=[a_row(bus)]))
    relay = DeadLetterRelay(
        bus.nc,
        store,
        bus.subjects,
        bus.streams,
        partial(declare, *bus, Limits()),
        metrics=RelayMetrics(CollectorRegistry()),
    )
    assert await relay.publish() == 1
    assert await relay.publish() == 0
    async with store.transaction() as transaction:
        await transaction.connection.execute("UPDATE service.dead_letters SET published_at = NULL")
    assert await relay.publish() == 1
    assert len(await messages_of(bus.nc, bus.streams.dead_letters)) == 1


async def test_a_purged_stream_of_dead_letters_stays_purged(bus: Bus, store: EventStore) -> None:
    async with role(bus, store):
        await store.append(Batch(dead_letters=[a_row(bus, sequence=0)]))
        await listed(bus, 1)
        await jetstream.call(bus.nc, f"STREAM.PURGE.{bus.streams.dead_letters}")
    async with role(bus, store):
        await store.append(Batch(dead_letters=[a_row(bus, sequence=1)]))
        [letter] = await listed(bus, 1)
    assert letter.letter.sequence == 1


@pytest.mark.parametrize("again", [False, True])
async def test_a_lost_stream_of_dead_letters_is_filled_again(
    bus: Bus, store: EventStore, again: bool
) -> None:
    await store.append(Batch(dead_letters=[a_row(bus, sequence=n) for n in range(3)]))
    async with role(bus, store):
        await listed(bus, 3)
        await jetstream.call(bus.nc, f"STREAM.DELETE.{bus.streams.dead_letters}")
        if again:  # somebody else makes it, before the relay misses it
            await declare(*bus, Limits())
        await store.append(Batch(dead_letters=[a_row(bus, sequence=3)]))
        found = await listed(bus, 4)
    assert sorted(letter.letter.sequence for letter in found) == [0, 1, 2, 3]


def a_relay_of_letters(bus: Bus, store: EventStore) -> DeadLetterRelay:
    return DeadLetterRelay(
        *(bus.nc, store, bus.subjects, bus.streams, partial(declare, *bus, Limits())),
        metrics=RelayMetrics(CollectorRegistry()),
    )


async def numbers(bus: Bus) -> list[int]:
    """Return the numbers that the letters of the stream were made with, in order."""
    return sorted(letter.letter.sequence for letter in await dead_letters.letters(*bus, limit=100))


async def letters_of_which_the_last_two_are_lost(bus: Bus, store: EventStore, relay: DeadLetterRelay) -> Copy:
    """Publish five letters, the second of which somebody deletes; return a copy with the first three.

    The stream remembers no id for longer than it must: who publishes all of them again doubles some.
    """
    info = await jetstream.stream_info(bus.nc, bus.streams.dead_letters)
    assert info is not None
    forgetful = info["config"] | {"duplicate_window": 100_000_000}
    await jetstream.call(bus.nc, f"STREAM.UPDATE.{bus.streams.dead_letters}", forgetful)
    await store.append(Batch(dead_letters=[a_row(bus, sequence=n) for n in range(3)]))
    assert await relay.publish() == 3
    await jetstream.call(bus.nc, f"STREAM.MSG.DELETE.{bus.streams.dead_letters}", {"seq": 2})
    copy = await copied(bus.nc, bus.streams.dead_letters)
    await store.append(Batch(dead_letters=[a_row(bus, sequence=n) for n in (3, 4)]))
    assert await relay.publish() == 2
    assert len(await numbers(bus)) == 4
    await asyncio.sleep(0.2)  # of the stream's memory, and no more
    return copy


@pytest.mark.parametrize("others", [0, 5], ids=["that is shorter", "that has other letters at the end"])
async def test_a_stream_that_was_put_back_gets_what_it_lost_and_nothing_twice(
    bus: Bus, store: EventStore, others: int
) -> None:
    relay = a_relay_of_letters(bus, store)
    copy = await letters_of_which_the_last_two_are_lost(bus, store, relay)
    before = await numbers(bus)
    await put_back(bus.nc, bus.streams.dead_letters, copy)
    for _ in range(others):
        await bus.nc.jetstream().publish(bus.subjects.dead("unknown", "S", "strange"), b"")

    with capture_logs() as logs:
        assert await relay.publish() == 2
        assert await relay.publish() == 0

    assert await numbers(bus) == before
    assert any(line["log_level"] == "error" and "put back" in line["event"] for line in logs)


async def test_a_relay_that_was_publishing_meanwhile_notices_by_the_numbers(
    bus: Bus, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = a_relay_of_letters(bus, store)
    copy = await letters_of_which_the_last_two_are_lost(bus, store, relay)
    before = await numbers(bus)
    await store.append(Batch(dead_letters=[a_row(bus, sequence=n) for n in (5, 6, 7)]))
    mend = LetterPlaces.mend

    async def just_before(places: LetterPlaces, newest: Any, info: Any) -> None:
        await mend(places, newest, info)
        monkeypatch.undo()
        await put_back(bus.nc, bus.streams.dead_letters, copy)

    monkeypatch.setattr(LetterPlaces, "mend", just_before)
    assert await relay.publish() == 3  # they take the numbers of the lost ones, and one more

    assert await relay.publish() == 2
    assert await numbers(bus) == [*before, 5, 6, 7]


async def test_what_was_published_long_ago_is_forgotten_and_nothing_else(bus: Bus, store: EventStore) -> None:
    old, young, pending = (a_row(bus, sequence=n) for n in (1, 2, 3))
    relay = DeadLetterRelay(
        *(bus.nc, store, bus.subjects, bus.streams, partial(declare, *bus, Limits())),
        retention=3600,
        metrics=RelayMetrics(CollectorRegistry()),
    )
    await store.append(Batch(dead_letters=[old, young]))
    assert await relay.publish() == 2
    async with store.transaction() as transaction:
        await transaction.connection.execute(
            "UPDATE service.dead_letters SET published_at = now() - interval '61 minutes' WHERE id = %s",
            (old.id,),
        )
    await store.append(Batch(dead_letters=[pending]))
    assert await relay.forget() == 1
    async with store.transaction() as transaction:
        rows = await (await transaction.connection.execute("SELECT id FROM service.dead_letters")).fetchall()
    assert {row[0] for row in rows} == {young.id, pending.id}
    assert len(await dead_letters.letters(*bus)) == 2  # the stream has both that were published


async def test_letters_are_found_by_tenant_and_reason_and_in_pages(bus: Bus, store: EventStore) -> None:
    other = str(uuid4())
    rows = [a_row(bus, sequence=n, tenant=other if n % 2 else str(TENANT)) for n in range(6)]
    rows.append(a_row(bus, sequence=6, reason="max-deliveries"))
    await store.append(Batch(dead_letters=rows))
    async with role(bus, store):
        await listed(bus, 7)
    find = partial(dead_letters.letters, *bus)
    assert {dead.tenant for dead in await find(tenant=other)} == {other}
    assert [dead.letter.sequence for dead in await find(reason="max-deliveries")] == [6]
    assert len(await find(stream=bus.streams.commands, tenant=str(TENANT))) == 4
    first = await find(limit=4)
    rest = await find(limit=4, after=first[-1].number)
    assert [dead.number for dead in first + rest] == [1, 2, 3, 4, 5, 6, 7]
    assert await dead_letters.letter(bus.nc, bus.streams, 99) is None
    found = await dead_letters.letter(bus.nc, bus.streams, 2)
    assert found == first[1]


async def test_a_command_is_sent_again_as_it_was(bus: Bus, store: EventStore) -> None:
    command_id = str(uuid4())
    headers = {COMMAND_ID: command_id, "Reply-To": "_INBOX.x", "Nats-Msg-Id": "once", "Actor": "Jürgen"}
    await store.append(Batch(dead_letters=[a_row(bus, headers=json.dumps(headers), body=b"{}")]))
    async with role(bus, store):
        [letter] = await listed(bus, 1)
    for turn in (1, 2):
        assert await dead_letters.replay(*bus, letter.letter, store) == (turn, command_id)
    again = await messages_of(bus.nc, bus.streams.commands)
    assert [m.subject.split(".", 3)[3] for m in again] == [f"{TENANT}.provision"] * 2
    assert again[0].body == b"{}"
    kept = {name: value for name, value in again[0].headers.items() if not name.startswith("Nats-")}
    assert kept == {COMMAND_ID: command_id, "Reply-To": "_INBOX.x", "Actor": "Jürgen"}


async def test_what_cannot_be_sent_again_says_why(bus: Bus, store: EventStore) -> None:
    event = a_row(bus, subject=bus.subjects.event(TENANT, "tenant.activated"))
    large = a_row(bus, body=b"x" * 1024 * 1024)
    odd = a_row(bus, headers=json.dumps({"bad name": "v"}))
    await store.append(Batch(dead_letters=[event, large, odd]))
    async with role(bus, store):
        found = {letter.letter.id: letter.letter for letter in await listed(bus, 3)}
    for row, why in ((event, "not a command"), (large, "without its body"), (odd, "header")):
        with pytest.raises(NotReplayable, match=why):
            await dead_letters.replay(*bus, found[str(row.id)], store)
    assert await messages_of(bus.nc, bus.streams.commands) == []


async def a_subscriber_that_fails(bus: Bus, name: str, *, terminate: bool) -> None:
    """Give up the first event: by saying so, or by not acknowledging any delivery."""
    js = bus.nc.jetstream(timeout=PATIENCE)
    await js.add_consumer(
        bus.streams.events, durable_name=name, ack_policy=AckPolicy.EXPLICIT, ack_wait=0.1, max_deliver=2
    )
    pull = await js.pull_subscribe_bind(name, bus.streams.events)
    for _ in range(1 if terminate else 2):
        [message] = await pull.fetch(1, timeout=PATIENCE)
        await (message.term() if terminate else message.nak())
    await bus.nc.flush()
    # The server counts when it would deliver once more.
    while not terminate and not await messages_of(bus.nc, bus.streams.advisories):
        with pytest.raises(TimeoutError):
            await pull.fetch(1, timeout=0.2)
    await pull.unsubscribe()


@pytest.mark.parametrize(("terminate", "reason"), [(True, "terminated"), (False, "max-deliveries")])
async def test_an_event_that_a_subscriber_gives_up_is_a_dead_letter_though_nobody_watched(
    bus: Bus, store: EventStore, terminate: bool, reason: str
) -> None:
    await store.append(facts(1, tenant=TENANT))
    async with role(bus, store):
        await reached(bus, 1)
    await a_subscriber_that_fails(bus, "billing", terminate=terminate)
    async with role(bus, store), role(bus, store):
        [letter] = await listed(bus, 1)
    [event] = await assert_mirrors(bus, store)
    dead = letter.letter
    assert (letter.tenant, dead.reason, dead.sequence) == (str(TENANT), reason, 1)
    sent = await opened(letter, store)
    assert (sent.subject, sent.body, sent.headers) == (event.subject, event.body, event.headers)
    assert dead.error["consumer"] == "billing"


async def test_a_given_up_message_that_is_gone_is_told_all_the_same(bus: Bus, store: EventStore) -> None:
    await store.append(facts(1, tenant=TENANT))
    async with role(bus, store):
        await reached(bus, 1)
    await a_subscriber_that_fails(bus, "billing", terminate=True)
    await jetstream.call(bus.nc, f"STREAM.PURGE.{bus.streams.events}")
    async with role(bus, store):
        [letter] = await listed(bus, 1)
    assert (letter.tenant, letter.letter.sequence) == ("unknown", 1)
    assert (await opened(letter, store)).body == b""
    assert "not in its stream" in letter.letter.error["detail"]


async def test_an_advisory_that_nobody_understands_is_passed_over(bus: Bus, store: EventStore) -> None:
    subject = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{bus.streams.events}.x"
    await bus.nc.publish(subject, b"{}")
    async with role(bus, store):
        await store.append(facts(1, tenant=TENANT))
        await reached(bus, 1)
        await a_subscriber_that_fails(bus, "billing", terminate=True)
        assert len(await listed(bus, 1)) == 1

    async def empty() -> bool:
        return not await messages_of(bus.nc, bus.streams.advisories)

    await until(empty)


async def test_the_role_starts_without_streams_and_stops_quickly(bus: Bus, store: EventStore) -> None:
    for stream in (bus.streams.events, bus.streams.dead_letters, bus.streams.advisories):
        await jetstream.call(bus.nc, f"STREAM.DELETE.{stream}")
    async with role(bus, store):
        await store.append(facts(5))
        await reached(bus, 5)
    async with within("the end of the role"), role(bus, store):
        pass
    await assert_mirrors(bus, store)


async def test_a_given_up_message_that_the_database_cannot_hold_lets_the_others_become_letters(
    bus: Bus, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append(facts(2, tenant=TENANT))
    async with role(bus, store):
        await reached(bus, 2)
    await a_subscriber_that_fails(bus, "one", terminate=True)
    await a_subscriber_that_fails(bus, "other", terminate=True)
    append = store.append

    async def picky(batch: Batch) -> Any:
        if any(b'"one: ' in row.error.encode() and row.subject for row in batch.dead_letters):
            raise psycopg.errors.UntranslatableCharacter("cannot be held")
        return await append(batch)

    monkeypatch.setattr(store, "append", picky)
    async with role(bus, store):
        found = {dead.letter.error["consumer"]: dead.letter for dead in await listed(bus, 2)}
    assert found["other"].subject
    assert (found["one"].subject, found["one"].headers) == ("", {})
