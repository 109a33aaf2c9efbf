"""TENANT_COMMANDS is put back to an earlier state: whatever it acknowledges from then on is decided."""

import asyncio
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from handlers.adapters import jetstream
from handlers.adapters.command_places import PLACES, Place
from handlers.adapters.command_stream import CommandStream
from handlers.bus.commands import CommandsRole
from handlers.store.event_store import EventStore
from tests.handlers.bus.commands.service import Caller, active_tenants, numbers, outcome, progress
from tests.support.bus import Bus, messages_of
from tests.support.snapshots import copied, put_back
from tests.support.waiting import soon, until, within


async def sent(caller: Caller, tenant: UUID, first: int, last: int) -> list[asyncio.Future[Any]]:
    return [
        await caller.put(tenant, "update_profile", {"settings": {"number": number}})
        for number in range(first, last)
    ]


async def heard(outcomes: list[asyncio.Future[Any]]) -> list[Any]:
    """Return the outcomes, once all have come."""
    async with within("the outcomes of the commands"):
        return await asyncio.gather(*outcomes)


async def places(store: EventStore) -> dict[int, Place]:
    async with store.transaction() as transaction:
        rows = await (await transaction.connection.execute(PLACES.encode())).fetchall()
    return {partition: Place(*place) for partition, *place in rows}


async def decided_and_then_lost(
    role: CommandsRole, bus: Bus, caller: Caller, tenant: UUID, store: EventStore
) -> None:
    """Have twenty commands decided, of which the stream, being put back, has the first five.

    It is put back as with the server's files, which hold its time of creation.
    """
    await heard(await sent(caller, tenant, 0, 5))
    copy = await copied(bus.nc, bus.streams.commands)
    await heard(await sent(caller, tenant, 5, 20))
    await role.durable.stop()
    await put_back(bus.nc, bus.streams.commands, copy)
    info = await jetstream.stream_info(bus.nc, bus.streams.commands)
    assert info is not None
    async with store.transaction() as transaction:
        await transaction.connection.execute(
            "UPDATE service.command_progress SET stream = %s", (info["created"],)
        )


async def test_commands_under_numbers_that_were_given_before_are_decided(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    [tenant] = await active_tenants(store, caller)
    await decided_and_then_lost(role, bus, caller, tenant, store)
    new = await sent(caller, tenant, 20, 50)  # the stream's last number is higher than ever

    with capture_logs() as logs:
        await role.durable.start()
        outcomes = await heard(new)

    assert {outcome(each)["status"] for each in outcomes} == {"completed"}
    assert await numbers(store, tenant) == list(range(50))
    assert any(line["log_level"] == "error" and "put back" in line["event"] for line in logs)


async def test_a_worker_that_runs_meanwhile_reads_anew(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    [tenant] = await active_tenants(store, caller)
    await heard(await sent(caller, tenant, 0, 5))
    copy = await copied(bus.nc, bus.streams.commands)
    await heard(await sent(caller, tenant, 5, 20))
    await put_back(bus.nc, bus.streams.commands, copy)

    await heard(await sent(caller, tenant, 20, 60))

    assert await numbers(store, tenant) == list(range(60))


async def test_what_is_not_decided_in_the_stream_as_it_is_is_not_purged(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    [tenant] = await active_tenants(store, caller)
    await decided_and_then_lost(role, bus, caller, tenant, store)
    new = await sent(caller, tenant, 20, 50)

    await role.upkeep.clean()
    assert len(await messages_of(bus.nc, bus.streams.commands)) == 35

    await role.durable.start()
    await heard(new)
    await role.upkeep.clean()
    assert await messages_of(bus.nc, bus.streams.commands) == []


async def test_nor_counted_as_decided(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore
) -> None:
    [tenant] = await active_tenants(store, caller)
    await decided_and_then_lost(role, bus, caller, tenant, store)
    await sent(caller, tenant, 20, 50)
    stream = CommandStream(bus.nc, bus.subjects, bus.streams.commands, partial(places, store))
    own, _ = bus.subjects.partitioned(tenant)

    assert await stream.undecided(own, upto=35) == 35
    await role.durable.start()

    async def all_decided() -> bool:
        return await stream.undecided(own, upto=35) == 0

    await until(all_decided)


async def test_a_last_message_that_was_deleted_is_no_sign_of_another_stream(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, migrated: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    await heard(await sent(caller, tenant, 0, 5))
    await role.durable.stop()
    await jetstream.call(bus.nc, f"STREAM.MSG.DELETE.{bus.streams.commands}", {"seq": 5})
    waiting = await sent(caller, tenant, 5, 7)

    with capture_logs() as logs:
        await role.durable.start()
        await heard(waiting)

    assert max(sequence for sequence, _ in (await progress(migrated)).values()) == 7
    assert not any("put back" in line["event"] for line in logs)


@pytest.mark.parametrize(
    "subject", ["*.suspend", "{tenant}.>", "*.*", ">.suspend", "{tenant}.*", "{TENANT}.suspend", "a*b.x>y"]
)
async def test_a_command_whose_subject_belongs_to_no_partition_is_refused_and_kept(
    role: CommandsRole, bus: Bus, caller: Caller, store: EventStore, subject: str
) -> None:
    [tenant] = await active_tenants(store, caller)
    tokens = subject.format(tenant=tenant, TENANT=str(tenant).upper()).split(".")

    found = outcome(await soon(await caller.put(tokens[0], tokens[1])))

    assert found["status"] == "rejected"
    assert found["error"]["type"] in ("/problems/invalid-command", "/problems/unknown-command")
    async with store.transaction() as transaction:
        rows = await transaction.connection.execute("SELECT subject, reason FROM service.dead_letters")
        [(kept, reason)] = await rows.fetchall()
    assert (kept, f"/problems/{reason}") == (bus.subjects.command(*tokens), found["error"]["type"])
    await role.upkeep.clean()
    assert await messages_of(bus.nc, bus.streams.commands) == []
