"""A refused command that is sent again from its dead letter, once what it was refused for is mended."""

from functools import partial
from uuid import UUID, uuid4

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from handlers.bus import dead_letters
from handlers.bus.commands import CommandsRole
from handlers.bus.letter_handling import dismiss, handled, note_replay
from handlers.bus.streams import declare
from handlers.relay.dead_letters import DeadLetterRelay
from handlers.relay.metrics import RelayMetrics
from handlers.store.event_store import EventStore
from handlers.wire.headers import CAUSATION_ID, COMMAND_ID, REPLAY_OF, REPLY_TO
from tests.handlers.bus.commands.conftest import LIMITS
from tests.handlers.bus.commands.service import (
    Caller,
    activate,
    active_tenants,
    outcome,
    problem,
    provisioning,
)
from tests.support.bus import Bus, messages_of
from tests.support.keys import keyring_of
from tests.support.waiting import soon, until


def relay(bus: Bus, store: EventStore) -> DeadLetterRelay:
    metrics = RelayMetrics(CollectorRegistry())
    return DeadLetterRelay(
        bus.nc, store, bus.subjects, bus.streams, partial(declare, *bus, LIMITS), metrics=metrics
    )


async def published(bus: Bus, store: EventStore) -> dead_letters.Letter:
    """Publish the one letter that there is, and return it as an operator reads it."""
    assert await relay(bus, store).publish() == 1
    [letter] = await dead_letters.letters(*bus)
    return await dead_letters.opened(letter, lambda: keyring_of(store))


async def test_it_is_decided_anew_under_an_id_of_its_own(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    tenant, former = uuid4(), uuid4()
    refused = await soon(await caller.put(tenant, "update_profile", {"name": "Risen"}, former))
    assert problem(refused) == "tenant-not-found"
    letter = await published(bus, store)
    provisioned = outcome(await caller.ask(tenant, "provision", provisioning(tenant)))
    await activate(store, {tenant: UUID(provisioned["operation_id"])})

    sent = await dead_letters.replay(*bus, letter.letter, store)

    assert sent.command_id not in (None, str(former))
    again = (await messages_of(bus.nc, bus.streams.commands))[-1]
    assert again.headers[COMMAND_ID] == sent.command_id
    assert (again.headers[CAUSATION_ID], again.headers[REPLAY_OF]) == (str(former), str(former))

    async def decided() -> bool:
        events = await store.read_tenant(tenant, 0, None, 100)
        return "tenant.profile_updated" in [event.topic for event in events]

    await until(decided)
    first = await caller.ask(tenant, "update_profile", {"name": "Risen"}, former)
    assert first.data == refused.data  # whoever asks under the former id hears what it was told


async def test_one_that_was_decided_meanwhile_keeps_its_id_and_is_not_decided_twice(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    tenant, command_id = uuid4(), uuid4()
    await soon(await caller.put(tenant, "update_profile", b'{"nam": "x"}', command_id))
    letter = await published(bus, store)  # a form that does not fit is no outcome
    provisioned = outcome(await caller.ask(tenant, "provision", provisioning(tenant)))
    await activate(store, {tenant: UUID(provisioned["operation_id"])})
    done = await caller.ask(tenant, "update_profile", {"name": "Risen"}, command_id)
    assert outcome(done)["status"] == "completed"

    assert (await dead_letters.replay(*bus, letter.letter, store)).command_id == str(command_id)


async def test_one_whose_id_another_command_had_is_decided_under_one_of_its_own(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    [tenant], former = await active_tenants(store, caller), uuid4()
    await caller.ask(tenant, "update_profile", {"name": "First"}, former)
    await soon(await caller.put(tenant, "update_profile", b'{"name": "Second"}', former))
    letter = await published(bus, store)
    assert letter.letter.reason == "command-id-reused"

    sent = await dead_letters.replay(*bus, letter.letter, store)

    assert sent.command_id != str(former)

    async def decided() -> bool:
        recorded = await store.recorded([(tenant, UUID(sent.command_id))])
        return any(each.position is not None for each in recorded.values())

    await until(decided)


async def test_what_a_sender_made_up_is_sealed_with_the_letter_and_sent_again_as_it_was(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    headers = {"X-Asked-By": "Ada Lovelace", "Actor": "crm", "Dead-Letter-Sealed-Headers": "mine"}
    letter, again = await replayed(bus, caller, store, headers)
    [kept] = await dead_letters.letters(*bus)
    assert "Lovelace" not in str(kept.letter.headers)
    assert kept.letter.headers["Actor"] == "crm"
    assert letter.letter.headers == headers
    assert (again["X-Asked-By"], again["Actor"]) == ("Ada Lovelace", "crm")


async def test_a_letter_whose_key_is_destroyed_is_shown_without_what_was_sealed(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, store_url: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    given = {COMMAND_ID: "seven", "X-Asked-By": "Ada Lovelace"}
    await bus.nc.jetstream().publish(bus.subjects.command(tenant, "update_profile"), b"{}", headers=given)

    async def refused() -> bool:
        return await relay(bus, store).publish() == 1

    await until(refused)
    async with await psycopg.AsyncConnection.connect(store_url, autocommit=True) as connection:
        await connection.execute("UPDATE service.tenant_keys SET wrapped = NULL, destroyed_at = now()")
    [found] = await dead_letters.letters(*bus)

    letter = await dead_letters.opened(found, lambda: keyring_of(store))

    assert letter.letter.headers == {COMMAND_ID: "seven"}
    assert (letter.letter.body, letter.letter.omitted) == (b"", "body, which is erased")


@pytest.mark.parametrize(
    "headers",
    [{}, {COMMAND_ID: "seven"}, {COMMAND_ID.lower(): str(uuid4())}],
    ids=["none", "no UUID", "in another case"],
)
async def test_one_that_came_without_a_fit_id_is_decided_under_one_of_its_own(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, headers: dict[str, str]
) -> None:
    letter, again = await replayed(bus, caller, store, headers)
    assert (again[CAUSATION_ID], again[REPLAY_OF]) == (letter.letter.id, letter.letter.id)


async def test_one_whose_outcome_was_to_go_elsewhere_is_decided_without(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    headers = {COMMAND_ID: str(uuid4()), REPLY_TO: "tenants.events.x"}
    _, again = await replayed(bus, caller, store, headers)
    assert again[COMMAND_ID] == headers[COMMAND_ID]
    assert not {REPLY_TO, REPLAY_OF} & again.keys()


async def replayed(
    bus: Bus, caller: Caller, store: EventStore, headers: dict[str, str]
) -> tuple[dead_letters.Letter, dict[str, str]]:
    """Send a command whose headers do not fit, and again from its letter, until it is completed.

    Return the letter, and the headers that it was sent again with.
    """
    [tenant] = await active_tenants(store, caller)
    subject = bus.subjects.command(tenant, "update_profile")
    await bus.nc.jetstream().publish(subject, b'{"name": "Risen"}', headers=headers)

    async def refused() -> bool:
        return await relay(bus, store).publish() == 1

    await until(refused)
    [found] = await dead_letters.letters(*bus)
    assert found.letter.reason == "invalid-command"
    letter = await dead_letters.opened(found, lambda: keyring_of(store))
    sent = await dead_letters.replay(*bus, letter.letter, store)

    async def completed() -> bool:
        recorded = await store.recorded([(tenant, UUID(sent.command_id))])
        return any(each.position is not None for each in recorded.values())

    await until(completed)
    return letter, dict((await messages_of(bus.nc, bus.streams.commands))[-1].headers)


async def test_what_was_done_about_a_letter_stays_with_it(store: EventStore) -> None:
    letter, other, tenant = str(uuid4()), str(uuid4()), str(uuid4())

    await note_replay(store, letter, tenant, "ada", "c-2")
    assert (await handled(store, [letter, other]))[letter].status == "replayed"
    assert await dismiss(store, letter, tenant, "grace")
    assert not await dismiss(store, letter, tenant, "ada")

    found = await handled(store, [letter, other])
    assert list(found) == [letter]
    handling = found[letter]
    assert (handling.status, handling.dismissed_by, handling.replayed_as) == ("dismissed", "grace", "c-2")
