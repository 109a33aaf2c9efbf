"""Every conformance class that the `eventsourcing` library ships, on our factory, recorders and mapper.

Not among them: those of its dynamic consistency boundaries, which is another kind of store.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    JSONTranscoder,
    ProcessRecorder,
    Tracking,
    TrackingRecorder,
    Transcoding,
    UUIDAsHex,
)
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.tests import application, persistence, projection
from eventsourcing.utils import Environment
from psycopg.sql import SQL, Identifier

from handlers.store.library import TenantFactory, environment
from handlers.store.library.recorders import (
    TenantAggregateRecorder,
    TenantApplicationRecorder,
    TenantProcessRecorder,
)
from tests.support.servers import SharedStack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(stack: SharedStack) -> AsyncIterator[str]:
    """One database for them all; each test has a schema of its own."""
    url = await stack.fresh_database()
    yield url
    await stack.drop_database(url)


class OnOurLog:
    """The library's environment in a schema of the test's own, with ids of `id_type`."""

    id_type = "uuid"

    @pytest.fixture(autouse=True)
    def _environment(self, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        schema = f"s{uuid4().hex}"
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(schema)))
        self.settings = {**environment(database, schema), "ORIGINATOR_ID_TYPE": self.id_type}
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)
        self.env = Environment("Conformance", self.settings)
        self.factory = TenantFactory(self.env)
        yield
        self.factory.close()

    def new_originator_id(self) -> UUID | str:
        return uuid4() if self.id_type == "uuid" else str(uuid4())


class OnOurLogWithTextIds(OnOurLog):
    id_type = "text"


class TestAggregateRecorder(OnOurLog, persistence.AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.factory.aggregate_recorder()


class TestAggregateRecorderWithTextIds(OnOurLogWithTextIds, persistence.AggregateRecorderTestCase):
    def create_recorder(self) -> AggregateRecorder:
        return self.factory.aggregate_recorder()


class TestApplicationRecorder(OnOurLog, persistence.ApplicationRecorderTestCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory.application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderWithTextIds(OnOurLogWithTextIds, persistence.ApplicationRecorderTestCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory.application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestNonInterleavingNotificationIds(OnOurLog, persistence.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> ApplicationRecorder:
        return self.factory.application_recorder()


class TestTrackingRecorder(OnOurLog, persistence.TrackingRecorderTestCase):
    def create_recorder(self) -> TrackingRecorder:
        return self.factory.tracking_recorder()


class TestProcessRecorder(OnOurLog, persistence.ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.factory.process_recorder()


class TestProcessRecorderWithTextIds(OnOurLogWithTextIds, persistence.ProcessRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.factory.process_recorder()


class TestProcessRecorderAsApplicationRecorder(OnOurLog, persistence.ApplicationRecorderTestCase):
    def create_recorder(self) -> ProcessRecorder:
        return self.factory.process_recorder()


class CountingTrackingRecorder(PostgresTrackingRecorder):
    """Another one, to be asked for by name."""


class TestFactory(OnOurLog, persistence.InfrastructureFactoryTestCase[TenantFactory]):
    def setUp(self) -> None:
        self.factory.close()
        self.env = Environment("Conformance", self.settings)
        super().setUp()

    def expected_factory_class(self):
        return TenantFactory

    def expected_aggregate_recorder_class(self):
        return TenantAggregateRecorder

    def expected_application_recorder_class(self):
        return TenantApplicationRecorder

    def expected_tracking_recorder_class(self):
        return PostgresTrackingRecorder

    def tracking_recorder_subclass(self):
        return CountingTrackingRecorder

    def expected_process_recorder_class(self):
        return TenantProcessRecorder


_SUBCLASSES: dict[type, type] = {
    persistence.Mydict: dict,
    persistence.MyList: list,
    persistence.MyStr: str,
    persistence.MyInt: int,
}


class SubclassAsPlain(Transcoding):
    """Instances of a subclass of a JSON type."""

    def __init__(self, kind: type, plain: type) -> None:
        self.type, self.plain, self.name = kind, plain, kind.__name__.lower()

    def encode(self, obj: Any) -> Any:
        return self.plain(obj)

    def decode(self, data: Any) -> Any:
        return self.type(data)


class TestTranscoder(OnOurLog, persistence.TranscoderTestCase):
    def construct_transcoder(self) -> JSONTranscoder:
        transcoder = self.factory.transcoder()
        assert isinstance(transcoder, JSONTranscoder)
        transcoder.register(UUIDAsHex())
        transcoder.register(persistence.CustomType1AsDict())
        transcoder.register(persistence.CustomType2AsDict())
        for kind, plain in _SUBCLASSES.items():
            transcoder.register(SubclassAsPlain(kind, plain))
        return transcoder


class TestExampleApplication(OnOurLog, application.ExampleApplicationTestCase):
    expected_factory_topic = "handlers.store.library:TenantFactory"


# The library's test records this warning itself, which an error would forestall.
@pytest.mark.filterwarnings("default:'log' is deprecated:DeprecationWarning")
class TestApplication(OnOurLog, application.ApplicationTestCase):
    pass


class EventCounters(PostgresTrackingRecorder, projection.EventCountersView):
    """The counters of the library's projection tests, kept with their tracking."""

    def __init__(self, datastore: PostgresDatastore, **names: str) -> None:
        super().__init__(datastore, **names)
        self.counters = Identifier(self.datastore.schema, self.tracking_table_name + "_counters")
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS {} (name text PRIMARY KEY, count bigint)").format(self.counters)
        )

    def get_created_event_counter(self) -> int:
        return self._count("created")

    def get_subsequent_event_counter(self) -> int:
        return self._count("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)

    def _count(self, name: str) -> int:
        with self.datastore.transaction() as cursor:
            cursor.execute(SQL("SELECT count FROM {} WHERE name = %s").format(self.counters), (name,))
            row = cursor.fetchone()
        return row["count"] if row else 0

    def _increment(self, name: str, tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                SQL(
                    "INSERT INTO {} AS c VALUES (%s, 1) ON CONFLICT (name) DO UPDATE SET count = c.count + 1"
                ).format(self.counters),
                (name,),
            )


class TestEventCountersView(OnOurLog, projection.EventCountersViewTestCase):
    def construct_event_counters_view(self) -> projection.EventCountersView:
        return self.factory.tracking_recorder(EventCounters)


class TestAggregateEventCountersProjection(OnOurLog, projection.AggregateEventCountersProjectionTestCase):
    view_class = EventCounters


class TestEventSourcedProjection(OnOurLog, projection.EventSourcedProjectionTestCase):
    pass


class TestTaggedDecisionCountersProjection(OnOurLog, projection.TaggedDecisionCountersProjectionTestCase):
    """Its decisions are in a store of the library's own kind, its view with our factory."""

    view_class = EventCounters

    @pytest.fixture(autouse=True)
    def _decisions_elsewhere(self, _environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DCBAPPLICATION_PERSISTENCE_MODULE", "eventsourcing.dcb.popo")
        monkeypatch.setenv("MAPPER_TOPIC", "eventsourcing.dcb.msgpack:MessagePackMapper")
