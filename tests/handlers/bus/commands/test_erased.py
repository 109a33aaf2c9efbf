"""The end of a tenant: what was accepted is decided before it, and what was answered is answered so again."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from handlers.adapters.effects import EffectFailed
from handlers.adapters.erasure import Erasure
from handlers.adapters.tasks import end
from handlers.bus.commands import CommandsRole
from handlers.bus.connection import flush
from handlers.bus.streams import declare
from handlers.relay.dead_letters import DeadLetterRelay
from handlers.relay.metrics import RelayMetrics
from handlers.store.event_store import EventStore
from tests.handlers.bus.commands.conftest import LIMITS
from tests.handlers.bus.commands.service import Caller, active_tenants, outcome
from tests.support.bus import Bus, messages_of
from tests.support.waiting import PATIENCE, soon, until

PERSON = "zoe.quetzal@planted.example"
WISH = {"name": "Acme", "subdomain": "acme", "admin": {"email": PERSON, "name": "Zoe"}}


def erasure(bus: Bus, url: str, patience: float = 30.0) -> Erasure:
    @asynccontextmanager
    async def connect() -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            yield connection

    return Erasure(connect, bus.nc, bus.subjects, bus.streams, patience=patience)


@pytest.fixture
async def letters(bus: Bus, store: EventStore) -> AsyncIterator[DeadLetterRelay]:
    """The relay of dead letters, at work."""
    relay = DeadLetterRelay(
        bus.nc,
        store,
        bus.subjects,
        bus.streams,
        partial(declare, *bus, LIMITS),
        poll=0.02,
        metrics=RelayMetrics(CollectorRegistry()),
    )
    task = asyncio.create_task(relay.run())
    yield relay
    await end(task)


async def test_an_accepted_command_is_decided_before_it_goes(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str, letters: DeadLetterRelay
) -> None:
    [tenant] = await active_tenants(store, caller)
    told = await bus.nc.subscribe(bus.subjects.dead(str(tenant), "*", "*"))
    await flush(bus.nc)
    await role.durable.stop()
    waiting = await caller.put(tenant, "provision", WISH)

    with pytest.raises(EffectFailed, match="still to be decided"):
        await erasure(bus, migrated, patience=0.3).erase(tenant)
    assert len(await messages_of(bus.nc, bus.streams.commands)) == 1

    await role.durable.start()
    erased = await erasure(bus, migrated).erase(tenant)

    assert outcome(await soon(waiting))["status"] == "rejected"
    assert (await told.next_msg(timeout=PATIENCE)).subject.endswith(".tenant-exists")
    counts = {each.store: each.count for each in erased.stores}
    assert (counts[bus.streams.commands], counts["service.dead_letters"]) == (1, 1)
    assert await messages_of(bus.nc, bus.streams.commands) == []
    assert await messages_of(bus.nc, bus.streams.dead_letters) == []


async def test_a_command_that_nobody_publishes_the_refusal_of_holds_it_up(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await soon(await caller.put(tenant, "provision", WISH))
    with pytest.raises(EffectFailed, match="with relay"):
        await erasure(bus, migrated, patience=0.3).erase(tenant)


async def test_who_sends_a_command_again_is_answered_as_before(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    done, refused = uuid4(), uuid4()
    first = [
        (await caller.ask(tenant, "suspend", {"reason": PERSON}, done)).data,
        (await caller.ask(tenant, "provision", WISH, refused)).data,
    ]

    await erasure(bus, migrated).erase(tenant)

    again = [
        (await caller.ask(tenant, "suspend", {"reason": PERSON}, done)).data,
        (await caller.ask(tenant, "provision", WISH, refused)).data,
    ]
    assert again == first
    assert [json.loads(each)["status"] for each in first] == ["completed", "rejected"]
    assert PERSON.encode() not in b"".join(first)


async def test_of_a_letter_that_comes_later_nothing_stays_that_tells_of_anybody(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str, letters: DeadLetterRelay
) -> None:
    [tenant] = await active_tenants(store, caller)
    await erasure(bus, migrated).erase(tenant)

    body = json.dumps({"reason": PERSON, PERSON: 1}).encode()
    found = await soon(await caller.put(tenant, "suspend", body, Actor=PERSON))

    assert outcome(found)["error"]["type"] == "/problems/invalid-command"

    async def told() -> bool:
        return len(await messages_of(bus.nc, bus.streams.dead_letters)) == 1

    await until(told)
    [message] = await messages_of(bus.nc, bus.streams.dead_letters)
    assert message.headers["Dead-Letter-Reason"] == "invalid-command"
    assert message.headers["Dead-Letter-Omitted"] == "body, which is erased"
    assert PERSON not in repr(message)
    async with store.transaction() as transaction:
        rows = await transaction.connection.execute("SELECT d::text FROM service.dead_letters d")
        assert PERSON not in repr(await rows.fetchall())
