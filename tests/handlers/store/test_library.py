"""The `eventsourcing` library on our log: applications side by side, facts, and what it must not do."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from eventsourcing.application import Application
from eventsourcing.cipher import AESCipher
from eventsourcing.compressor import ZlibCompressor
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import (
    IntegrityError,
    JSONTranscoder,
    Mapper,
    OperationalError,
    ProcessRecorder,
    StoredEvent,
    Tracking,
)
from eventsourcing.utils import Environment, get_topic

from handlers.store.batch import Batch
from handlers.store.event_store import EventStore
from handlers.store.library import Fact, TenantFactory, TenantMapper, environment
from handlers.store.library.mapper import projector
from handlers.wire.events import Meta
from tenant_domain.examples import TENANT
from tenant_domain.subdomain.events import SubdomainReleased
from tenant_domain.subdomain.state import SubdomainClaim
from tests.handlers.store.batches import RELEASED, event, stored
from tests.support.examples import EVENT_EXAMPLES
from tests.support.proxy import Proxy

CLAIMED = EVENT_EXAMPLES["subdomain.claimed"]


class Orders(Application[UUID]):
    """An application of the library."""


class Invoices(Application[UUID]):
    """Another one, in the same schema."""


def test_applications_in_one_schema_have_logs_of_their_own(postgres_url: str) -> None:
    settings = environment(postgres_url, "public")
    with Orders(env=settings) as orders, Invoices(env=settings) as invoices:
        order, invoice = Aggregate(), Aggregate()
        orders.save(order)
        (recording,) = invoices.save(invoice)
        assert recording.notification.id == 1
        assert [item.originator_id for item in orders.recorder.select_notifications(None, 10)] == [order.id]
        assert [item.originator_id for item in invoices.recorder.select_notifications(None, 10)] == [
            invoice.id
        ]
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert {row[0] for row in found} == {
        "orders_events",
        "orders_events_lock",
        "invoices_events",
        "invoices_events_lock",
    }


def test_a_log_that_a_former_version_made_goes_on(postgres_url: str) -> None:
    settings = environment(postgres_url, "public")
    with Orders(env=settings) as orders:
        orders.save(Aggregate())
    # Given its head is a table, which each append updated
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "DROP VIEW orders_events_head; DROP TABLE orders_events_lock;"
            "CREATE TABLE orders_events_head (single boolean PRIMARY KEY DEFAULT true, position bigint,"
            " recorded_at timestamptz); INSERT INTO orders_events_head VALUES (true, 1, now())"
        )
    # When this version opens it
    with Orders(env=settings) as orders:
        (recording,) = orders.save(Aggregate())
    assert recording.notification.id == 2


def test_positions_stay_gapless_over_conflicts(postgres_url: str) -> None:
    with Orders(env=environment(postgres_url, "public")) as orders:
        aggregate = Aggregate()
        orders.save(aggregate)
        (first,) = orders.recorder.select_notifications(None, 1)
        for _ in range(3):
            with pytest.raises(IntegrityError):
                orders.recorder.insert_events([first])
        (recording,) = orders.save(Aggregate())
        assert recording.notification.id == 2


def test_database_functions_are_refused(postgres_url: str) -> None:
    settings = {**environment(postgres_url, "public"), "POSTGRES_ENABLE_DB_FUNCTIONS": "yes"}
    with pytest.raises(OSError, match="loses events"):
        TenantFactory(Environment("Orders", settings))


def recorder(url: str) -> ProcessRecorder:
    return TenantFactory(Environment("Orders", environment(url, "public"))).process_recorder()


def test_tracking_stays_where_it_was_when_the_events_conflict(postgres_url: str) -> None:
    orders = recorder(postgres_url)
    taken = StoredEvent(uuid4(), 1, "topic", b"state")
    orders.insert_events([taken], tracking=Tracking("upstream", 1))
    with pytest.raises(IntegrityError):
        orders.insert_events([taken], tracking=Tracking("upstream", 2))
    with pytest.raises(IntegrityError):
        orders.insert_events([StoredEvent(uuid4(), 1, "topic", b"state")], tracking=Tracking("upstream", 1))
    assert orders.max_tracking_id("upstream") == 1
    assert orders.max_notification_id() == 1


async def test_an_insert_whose_answer_was_lost_is_not_repeated_by_itself(postgres_url: str) -> None:
    async with Proxy(postgres_url) as proxy:
        orders = await asyncio.to_thread(recorder, proxy.url)
        proxy.lose_answer(b"a state to be lost")
        lost = StoredEvent(uuid4(), 1, "topic", b"a state to be lost")
        with pytest.raises(OperationalError):
            await asyncio.to_thread(orders.insert_events, [lost])
        assert await asyncio.to_thread(orders.select_events, lost.originator_id) == [lost]


async def test_the_services_log_is_read_as_facts(store: EventStore, store_url: str) -> None:
    stream, tenant = uuid4(), uuid4()
    await store.append(Batch(events=[event(stream, 1, tenant=tenant), stored(RELEASED, stream, 2)]))

    def read() -> tuple[Any, list[Any]]:
        with Application[UUID](env=environment(store_url)) as service:
            state: Any = service.repository.get(stream, projector_func=projector("subdomain"))
            section = service.recorder.select_notifications(None, 10)
            return state, [(item.id, service.mapper.to_domain_event(item)) for item in section]

    state, facts = await asyncio.to_thread(read)
    assert state == SubdomainClaim("acme", None)
    assert [(position, fact.originator_version) for position, fact in facts] == [(1, 1), (2, 2)]
    assert facts[1][1] == Fact(stream, 2, RELEASED)


async def test_a_fact_written_through_the_library_stands_in_the_services_log(
    store: EventStore, store_url: str
) -> None:
    stream, meta = uuid4(), Meta(actor="ops")
    await store.append(Batch(events=[event(stream, 1)]))

    def write() -> None:
        with Application[UUID](env=environment(store_url)) as service:
            service.events.put([Fact(stream, 2, RELEASED, meta, TENANT)])  # pyright: ignore[reportArgumentType]  a fact is no library event

    await asyncio.to_thread(write)
    (found,) = await store.read(1, 10)
    assert (found.position, found.tenant_id, found.stream_id, found.version) == (2, TENANT, stream, 2)
    assert found.topic == SubdomainReleased.name
    assert (await store.append(Batch(events=[event(stream, 3)]))).head == 3


def test_the_services_progress_is_not_the_librarys(store_url: str) -> None:
    with pytest.raises(OSError, match="another schema"):
        TenantFactory(Environment("Service", environment(store_url))).process_recorder()


def test_a_fact_can_be_compressed_and_encrypted() -> None:
    cipher = AESCipher(Environment("", {"CIPHER_KEY": AESCipher.create_key(16)}))
    mapper = TenantMapper(JSONTranscoder(), compressor=ZlibCompressor(), cipher=cipher)
    fact = Fact(uuid4(), 1, EVENT_EXAMPLES["member.joined"], Meta(actor="ops"))
    kept = mapper.to_stored_event(fact)
    assert (kept.topic, b"ada@acme.example" in kept.state) == ("member.joined", False)
    assert mapper.to_domain_event(kept) == fact


class Renamed(Aggregate.Event):
    """An event of the library's own kind whose field has another name since version 2."""

    title: str
    class_version = 2

    @staticmethod
    def upcast_v1_v2(state: dict[str, Any]) -> None:
        state["title"] = state.pop("name")


def test_events_of_the_librarys_own_kind_are_upcast_as_ever() -> None:
    body = b'{"timestamp":null,"name":"Ada"}'
    found = TenantMapper(JSONTranscoder()).to_domain_event(StoredEvent(uuid4(), 1, get_topic(Renamed), body))
    assert found.title == "Ada"


def test_another_mapper_or_transcoder_can_be_named(postgres_url: str) -> None:
    settings = environment(postgres_url, "public")
    with TenantFactory(Environment("Orders", settings)) as factory:
        assert type(factory.mapper()) is TenantMapper
    settings["MAPPER_TOPIC"] = "eventsourcing.persistence:Mapper"
    settings["TRANSCODER_TOPIC"] = "eventsourcing.persistence:JSONTranscoder"
    with TenantFactory(Environment("Orders", settings)) as factory:
        assert type(factory.mapper()) is Mapper
        assert type(factory.transcoder()) is JSONTranscoder
