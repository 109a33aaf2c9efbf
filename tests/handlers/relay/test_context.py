"""The live context says of every tenant what the log says last, whatever befalls the bucket or its relays."""

import asyncio
import json
import random
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.kv import KeyValue
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from deploy.embedded import EmbeddedStack
from handlers.adapters import jetstream
from handlers.bus.streams import Limits, declare
from handlers.relay import context
from handlers.relay.context import ContextRelay
from handlers.relay.context_place import FORM_HEADER
from handlers.relay.context_rebuild import rebuild
from handlers.relay.metrics import RelayMetrics
from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta, encoded, event_of
from projections.context import FACTS, FORM, Form, context_of
from tenant_domain.decision import Event
from tenant_domain.tenant import events as ten
from tenant_domain.tenant.state import Tenant, evolve
from tests.handlers.relay.relays import kept, running
from tests.support.bus import Bus, messages_of
from tests.support.histories import born, tenant_fact
from tests.support.log import events_of
from tests.support.snapshots import copied, put_back
from tests.support.waiting import PATIENCE, until

OPERATION = str(UUID(int=7))
SUSPENDED = ten.Suspended(operation_id=OPERATION, reason="Invoice of Ada Lovelace is unpaid.")
RESUMED = ten.Resumed(operation_id=OPERATION)
RENAMED = ten.ProfileUpdated(tenant_name="Acme")
ACTIVATED = ten.Activated(operation_id=OPERATION)


def a_relay(bus: Bus, store: EventStore, **settings: Any) -> ContextRelay:
    making = partial(declare, *bus, Limits())
    metrics = RelayMetrics(CollectorRegistry())
    times: dict[str, Any] = {"poll": 0.2, "takeover": 0.05} | settings
    return ContextRelay(bus.nc, store, bus.subjects, bus.streams, making, metrics=metrics, **times)


class House:
    """A log of tenants, and the bucket that follows it."""

    def __init__(self, bus: Bus, store: EventStore) -> None:
        self.bus, self.store = bus, store
        self._versions: dict[UUID, int] = {}

    async def add(self, *facts: tuple[UUID, Event]) -> None:
        """Commit facts in one batch, and hint as who commits does."""
        batch = Batch()
        for tenant, event in facts:
            version = self._versions[tenant] = self._versions.get(tenant, 0) + 1
            batch.events.append(EventRow(tenant, tenant, version, event.name, encoded(event, Meta()), 0))
        appended = await self.store.append(batch)
        await self.bus.nc.publish(self.bus.subjects.hint("committed"), b"%d" % appended.head)

    def forget_versions(self, changed: UUID, lost: UUID) -> None:
        """Go on behind the two events that both tenants have, or none, in a log that lost all others."""
        self._versions[changed] = 2
        del self._versions[lost]

    async def tenant(self, *more: Event) -> UUID:
        tenant = uuid4()
        await self.add((tenant, born()), (tenant, ACTIVATED), *((tenant, event) for event in more))
        return tenant

    async def entries(self) -> dict[str, bytes]:
        """All that stands in the bucket, by subject."""
        messages = await messages_of(self.bus.nc, self.bus.streams.context_stream)
        return {message.subject: message.body for message in messages}

    async def sequences(self) -> dict[str, int]:
        messages = await messages_of(self.bus.nc, self.bus.streams.context_stream)
        return {message.subject: message.sequence for message in messages}

    async def expected(self) -> dict[str, bytes]:
        """What the bucket must say, folded from the whole log."""
        states: dict[UUID, Tenant | None] = {}
        last: dict[UUID, tuple[int, int]] = {}
        for event in await events_of(self.store):
            tenant = event.tenant_id
            states[tenant] = evolve(states.get(tenant), event_of(event.topic, event.state))
            if event.topic in FACTS:
                last[tenant] = (event.version, event.position)
        subject = self.bus.streams.context_subject
        return {
            subject(str(tenant)): msgspec.json.encode(context_of(tenant, state, *last[tenant]))
            for tenant, state in states.items()
            if state is not None
        }

    async def agrees(self) -> bool:
        return await self.entries() == await self.expected()

    async def status(self, tenant: UUID) -> str | None:
        body = (await self.entries()).get(self.bus.streams.context_subject(str(tenant)), b"{}")
        return json.loads(body).get("status")

    async def put(self, tenant: UUID, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        subject = self.bus.streams.context_subject(str(tenant))
        await self.bus.nc.jetstream(timeout=PATIENCE).publish(subject, body, headers=dict(headers or {}))

    async def lose(self) -> None:
        await jetstream.call(self.bus.nc, f"STREAM.DELETE.{self.bus.streams.context_stream}")


@pytest.fixture
def house(bus: Bus, store: EventStore) -> House:
    return House(bus, store)


async def test_a_stock_client_of_the_bucket_sees_each_change_of_a_tenant(house: House) -> None:
    tenant = await house.tenant()
    async with running(a_relay(house.bus, house.store)):
        await until(house.agrees)
        bucket = await house.bus.nc.jetstream(timeout=PATIENCE).key_value(house.bus.streams.context)
        watcher = await bucket.watch(str(tenant))

        async def seen() -> dict[str, Any]:
            entry = await watcher.updates(timeout=PATIENCE) or await watcher.updates(timeout=PATIENCE)
            assert isinstance(entry, KeyValue.Entry)
            assert entry.key == str(tenant)
            return json.loads(entry.value or b"")

        first = await seen()
        assert (first["status"], first["version"], first["position"]) == ("active", 2, 2)
        await house.add((tenant, SUSPENDED))
        assert (await seen())["status"] == "suspended"
        await house.add((tenant, RENAMED))
        await house.add((tenant, RESUMED))
        last = await seen()
        assert (last["status"], last["version"]) == ("active", 5)
        await watcher.stop()


async def test_nothing_of_a_person_and_no_name_is_in_the_bucket_and_each_tenant_has_its_own_subject(
    house: House,
) -> None:
    tenants = [await house.tenant(SUSPENDED) for _ in range(3)]
    async with running(a_relay(house.bus, house.store)):
        await until(house.agrees)
    entries = await house.entries()
    assert set(entries) == {f"$KV.{house.bus.streams.context}.{tenant}" for tenant in tenants}
    assert all(
        word not in body.lower() for body in entries.values() for word in (b"lovelace", b"unpaid", b"example")
    )


async def test_a_flood_of_changes_through_two_relays_ends_as_the_log_says(house: House) -> None:
    chance = random.Random(7)
    tenants = [await house.tenant() for _ in range(40)]
    async with running(*(a_relay(house.bus, house.store) for _ in range(2))):
        for _ in range(60):
            facts = [tenant_fact(chance.randrange(11), chance.randrange(5)) for _ in range(20)]
            await house.add(*((chance.choice(tenants), fact) for fact in facts))
        await until(house.agrees)


async def test_a_lost_bucket_is_filled_again_with_the_same_bytes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "RANGE", 7)
    for number in range(20):
        await house.tenant(*[SUSPENDED, RENAMED, RESUMED][: number % 4])
    async with running(a_relay(house.bus, house.store)):
        await until(house.agrees)
        await house.lose()
        await until(house.agrees)


async def test_a_bucket_that_was_put_back_gets_what_it_lost(house: House) -> None:
    relay = a_relay(house.bus, house.store)
    tenants = [await house.tenant() for _ in range(3)]
    async with running(relay):
        await until(house.agrees)
        copy = await copied(house.bus.nc, house.bus.streams.context_stream)
        await house.add((tenants[0], SUSPENDED), (tenants[1], RENAMED))
        await house.tenant()
        await until(house.agrees)
    await put_back(house.bus.nc, house.bus.streams.context_stream, copy)
    assert not await house.agrees()
    async with running(relay):  # the one that remembers how the bucket was
        await until(house.agrees)


async def test_no_former_state_is_shown_while_a_bucket_is_filled(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "RANGE", 3)
    tenants = [await house.tenant() for _ in range(10)]
    await house.add(*((tenant, SUSPENDED) for tenant in tenants))
    updates: list[bytes] = []
    subject = house.bus.streams.context_subject("*")
    listening = await house.bus.nc.subscribe(subject, cb=_into(updates))
    async with running(a_relay(house.bus, house.store)):
        await until(house.agrees)
    await listening.unsubscribe()
    assert {json.loads(update)["status"] for update in updates} == {"suspended"}


def _into(updates: list[bytes]) -> Any:
    async def keep(message: Any) -> None:
        updates.append(message.data)

    return keep


@pytest.mark.parametrize("meddling", ["other", "former", "deleted", "future"])
async def test_what_a_stranger_writes_is_written_over(house: House, meddling: str) -> None:
    tenant, other = await house.tenant(), await house.tenant()
    async with running(a_relay(house.bus, house.store)):
        await until(house.agrees)
        former = (await house.entries())[house.bus.streams.context_subject(str(tenant))]
        await house.add((tenant, SUSPENDED), (other, SUSPENDED))
        await until(house.agrees)
        if meddling == "deleted":
            await house.put(tenant, b"", {"KV-Operation": "DEL"})
        elif meddling == "future":
            await house.put(tenant, former.replace(b'"position":2', b'"position":999'))
        else:
            await house.put(tenant, b"mine" if meddling == "other" else former)
        assert not await house.agrees()
        await until(house.agrees)


async def test_keys_that_a_stranger_purged_are_written_again_and_no_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "RANGE", 2)
    tenants = [await house.tenant() for _ in range(4)]
    keys = [house.bus.streams.context_subject(str(tenant)) for tenant in tenants]
    purge = f"STREAM.PURGE.{house.bus.streams.context_stream}"
    async with running(a_relay(house.bus, house.store, check=0.2)):
        await until(house.agrees)
        last = (await house.sequences())[keys[3]]
        await jetstream.call(house.bus.nc, purge, {"seq": last})
        await until(house.agrees)
        # the last of all stands once more behind those that were missing
        assert [(await house.sequences())[key] - last for key in keys] == [1, 2, 3, 4]
        await jetstream.call(house.bus.nc, purge, {"filter": keys[1]})
        await until(house.agrees)
        assert [(await house.sequences())[key] - last for key in keys] == [1, 5, 3, 6]
        await jetstream.call(house.bus.nc, purge)
        await until(house.agrees)
        await house.add((tenants[0], SUSPENDED))
        await until(house.agrees)
        assert [(await house.sequences())[key] - last for key in keys] == [11, 8, 9, 10]


async def test_a_relay_that_slept_cannot_write_over_what_a_newer_one_wrote(
    house: House, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await house.tenant()
    async with EventStore(store_url) as slow:
        load, asleep, awake = slow.load, asyncio.Event(), asyncio.Event()

        async def sleeping(refs: Any) -> Any:
            loaded = await load(refs)
            asleep.set()
            await awake.wait()
            return loaded

        monkeypatch.setattr(slow, "load", sleeping)
        with capture_logs() as logs:
            async with running(a_relay(house.bus, slow)):
                await asleep.wait()  # it has read that the tenant is active
                async with running(a_relay(house.bus, house.store)):
                    await house.add((tenant, SUSPENDED))
                    await until(house.agrees)
                awake.set()
                await until(partial(_told, logs, "relay of the live context stands by"))
                assert await house.status(tenant) == "suspended"
                await house.add((tenant, RESUMED))  # and it goes on when nobody else does
                await until(house.agrees)


async def _told(logs: list[Any], event: str) -> bool:
    return any(log["event"] == event for log in logs)


async def test_a_tenant_that_cannot_be_read_holds_up_no_other(house: House) -> None:
    broken, others = await house.tenant(), [await house.tenant() for _ in range(5)]
    async with running(a_relay(house.bus, house.store)):
        await until(house.agrees)
        batch = Batch()
        for name in (SUSPENDED.name, "tenant.of_tomorrow"):
            version = 3 + len(batch.events)
            batch.events.append(EventRow(broken, broken, version, name, encoded(SUSPENDED, Meta()), 0))
        with capture_logs() as logs:
            await house.store.append(batch)
            await house.add(*((tenant, SUSPENDED) for tenant in others))
            for tenant in others:
                await until(partial(_is, house, tenant, "suspended"))
        assert await house.status(broken) == "active"
    left = [log for log in logs if log["event"] == "entry of the live context left as it is"]
    assert {log["tenant_id"] for log in left} == {str(broken)}


async def _is(house: House, tenant: UUID, status: str) -> bool:
    return await house.status(tenant) == status


async def test_a_rebuild_mends_all_entries_and_takes_strangers_away_without_missing_any_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "RANGE", 5)
    tenants = [await house.tenant() for _ in range(12)]
    relay = a_relay(house.bus, house.store)
    async with running(relay):
        await until(house.agrees)
        await house.put(uuid4(), b"stranger")
        await until(partial(_written_over, house))
        async with running(a_relay(house.bus, house.store)):
            stream, fresh = house.bus.streams.context_stream, a_relay(house.bus, house.store)
            filling = asyncio.create_task(rebuild(house.bus.nc, house.store, fresh, stream))
            while not filling.done():
                assert {house.bus.streams.context_subject(str(t)) for t in tenants} <= set(
                    await house.entries()
                )
            assert await filling == 24
            await until(house.agrees)  # one of them may still take the stranger away


async def _written_over(house: House) -> bool:
    """Return whether every tenant's entry stands behind the stranger's."""
    messages = await messages_of(house.bus.nc, house.bus.streams.context_stream)
    return messages[0].body == b"stranger"


async def test_servers_that_are_killed_and_emptied_leave_every_entry_as_the_log_says(
    own: tuple[Bus, EventStore], own_stack: EmbeddedStack, warm_dir: Path, restarts: asyncio.Queue[str]
) -> None:
    house = House(*own)
    tenants = [await house.tenant() for _ in range(30)]
    async with running(a_relay(*own), a_relay(*own)):
        await until(house.agrees)
        for harm in ("nats", "postgres", "emptied"):
            if harm == "emptied":
                own_stack.pause("nats")
                await asyncio.to_thread(shutil.rmtree, warm_dir / "nats" / "jetstream")
            server = "postgres" if harm == "postgres" else "nats"
            await own_stack.kill(server)
            assert await restarts.get() == server
            await house.add(*((tenant, SUSPENDED if harm == "nats" else RESUMED) for tenant in tenants[::2]))
            await until(partial(_agrees_again, house))


async def _agrees_again(house: House) -> bool:
    """Return whether all is there; not while a server comes back, or before the bucket is made again."""
    try:
        return await house.agrees()
    except (NatsError, jetstream.JetStreamError):
        return False


def many_flags(count: int) -> ten.DefaultsConfigured:
    flags = {f"flag-{n}": True for n in range(count)}
    return ten.DefaultsConfigured(operation_id=OPERATION, quotas={"users": 5}, flags=flags, branding={})


@pytest.mark.parametrize(("flags", "limit"), [(80_000, -1), (300, 2000)], ids=["server", "stream"])
async def test_an_entry_that_no_message_carries_says_the_status_and_lets_the_others_pass(
    house: House, store_url: str, flags: int, limit: int
) -> None:
    stream = house.bus.streams.context_stream
    info = await jetstream.stream_info(house.bus.nc, stream)
    assert info is not None
    await jetstream.call(house.bus.nc, f"STREAM.UPDATE.{stream}", info["config"] | {"max_msg_size": limit})
    before = await house.tenant()
    large = [await house.tenant(many_flags(flags), SUSPENDED) for _ in range(2)]
    after = await house.tenant()

    async def all_there() -> bool:
        return len(await house.entries()) == 4

    async with running(a_relay(house.bus, house.store)):
        await until(all_there)
    entries, expected = await house.entries(), await house.expected()
    subject = house.bus.streams.context_subject
    for tenant in (before, after):
        assert entries[subject(str(tenant))] == expected[subject(str(tenant))]
    for tenant in large:
        entry = json.loads(entries[subject(str(tenant))])
        assert (entry["status"], entry.keys() & {"plan", "flags", "limits"}) == ("suspended", set())
    assert [position for position, _ in await kept(store_url)] == [
        json.loads(entries[subject(str(tenant))])["position"] for tenant in large
    ]


EARLIER, LATER = FORM._replace(known=FORM.known - 1), FORM._replace(known=FORM.known + 1)


@pytest.mark.parametrize("form", [EARLIER, Form.parsed("")])
async def test_what_a_version_before_left_out_is_written_by_the_next_one(
    house: House, monkeypatch: pytest.MonkeyPatch, form: Form
):
    monkeypatch.setattr(context, "FACTS", FACTS - {SUSPENDED.name})
    async with running(a_relay(house.bus, house.store, form=form)):
        suspended, other = await house.tenant(), await house.tenant()
        await until(house.agrees)
        await house.add((suspended, SUSPENDED))
        last = await house.tenant()
        subject = house.bus.streams.context_subject(str(last))

        async def passed() -> bool:
            return subject in await house.entries()

        await until(passed)
        assert not await house.agrees()
    monkeypatch.undo()
    async with running(a_relay(house.bus, house.store)):
        await until(house.agrees)
        entries = await house.entries()
        assert {house.bus.streams.context_subject(str(each)) for each in (suspended, other, last)} == set(
            entries
        )
        await house.add((suspended, RESUMED))
        await until(house.agrees)


async def test_a_later_version_does_not_wait_until_the_one_before_stands_still(house: House):
    before = a_relay(house.bus, house.store, form=EARLIER, takeover=60.0)
    async with running(before):
        tenant = await house.tenant()
        await until(house.agrees)
        async with running(a_relay(house.bus, house.store, takeover=60.0)):
            former = await house.sequences()

            async def written_anew() -> bool:
                return all(sequence > former[key] for key, sequence in (await house.sequences()).items())

            await until(written_anew)
            for fact in (SUSPENDED, RESUMED) * 5:
                await house.add((tenant, fact))
                await until(house.agrees)
            assert await written_by(house, FORM)


async def test_a_version_before_goes_on_where_the_later_one_is_gone_and_leaves_its_entries(house: House):
    async with running(a_relay(house.bus, house.store, form=LATER)):
        kept = await house.tenant()
        await until(house.agrees)
    former = await house.sequences()
    async with running(a_relay(house.bus, house.store)):
        await house.tenant()
        await until(house.agrees)
    subject = house.bus.streams.context_subject(str(kept))
    assert (await house.sequences())[subject] == former[subject]


async def written_by(house: House, form: Form) -> bool:
    """Return whether the bucket's last entry was made in this form."""
    last = max(await messages_of(house.bus.nc, house.bus.streams.context_stream))
    return Form.parsed(last.headers[FORM_HEADER]) == form


async def test_entries_of_facts_and_tenants_that_a_failover_lost_are_gone(house: House) -> None:
    # Given tenants of whom the bucket says what the log then loses: a suspension, and a birth
    kept, changed = await house.tenant(), await house.tenant()
    head = await house.store.head()
    async with running(a_relay(house.bus, house.store)):
        await until(house.agrees)
        await house.add((changed, SUSPENDED))
        lost = await house.tenant()
        await until(house.agrees)
        watched: list[str | None] = []
        subject = house.bus.streams.context_subject(str(lost))

        async def told(message: Msg) -> None:
            watched.append((message.headers or {}).get("KV-Operation"))

        await house.bus.nc.subscribe(subject, cb=told)
        # When the database fails over to a replica without them, and their positions are given again
        async with house.store.transaction() as transaction:
            statement = b"DELETE FROM service.events WHERE notification_id > %s"
            await transaction.connection.execute(statement, (head,))
        house.store.incarnation.met("as after a failover")
        house.forget_versions(changed, lost)
        await house.add((changed, RENAMED), (kept, SUSPENDED), (changed, RENAMED), (changed, RENAMED))
        # Then the bucket says what the log does, and who watches is told of the birth that was none
        await until(house.agrees)
        assert await house.status(changed) == "active"
        assert await house.status(lost) is None
        assert watched == ["DEL"]
