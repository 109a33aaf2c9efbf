"""The library's recorders on our append: gapless positions in commit order, no table lock, no NOTIFY."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from eventsourcing import postgres
from eventsourcing.persistence import ListenNotifySubscription, StoredEvent, Tracking
from psycopg import Connection, Cursor
from psycopg.rows import DictRow, tuple_row
from psycopg.sql import SQL, Composed, Identifier

from handlers.store.appending import append_events_statement, event_parameters
from handlers.store.library.names import append_sql, log_names, tables_sql
from handlers.store.packing import Packed, bigints, byteas, names, texts, uuids

_MAKE = """
DO $make$ BEGIN
    {tables}
EXCEPTION WHEN duplicate_table OR unique_violation THEN
    NULL;  -- another process was quicker, and has committed
END $make$"""

_TURN = SQL("LOCK TABLE {} IN SHARE UPDATE EXCLUSIVE MODE")
"""One process at a time makes what goes with a log, and its writers go on. An advisory lock would be
anybody's who may connect, a tenant's too."""

_STAGES = ("events", "event_lock")
"""What the files of a log make, one each, in order."""

_POLL = 0.05
"""Seconds between two looks of a subscription at the end of the log."""


class TenantAggregateRecorder(postgres.PostgresAggregateRecorder):
    """Streams without a global order: the library keeps its snapshots in one."""

    def __init__(
        self, datastore: postgres.PostgresDatastore, *, events_table_name: str = "stored_events"
    ) -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        datastore.db_type_names.discard(self.stored_event_type_name)  # we pass arrays, not its composites
        self.sql_create_statements = self.sql_create_statements[: self.create_table_statement_index + 1]
        by_type: dict[str, Callable[[Iterable[Any]], Packed]] = {"uuid": uuids, "text": texts}
        self._pack_id = by_type[datastore.originator_id_type]
        self._insert = SQL(
            "INSERT INTO {} (originator_id, originator_version, topic, state)"
            " SELECT * FROM unnest(%s, %s, %s, %s)"
        ).format(Identifier(datastore.schema, events_table_name))

    def _insert_stored_events(
        self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **_: Any
    ) -> None:
        values = (
            self._pack_id(event.originator_id for event in stored_events),
            bigints(event.originator_version for event in stored_events),
            names(event.topic for event in stored_events),
            byteas(event.state for event in stored_events),
        )
        curs.execute(self._insert, values, prepare=True)


class TenantApplicationRecorder(TenantAggregateRecorder, postgres.PostgresApplicationRecorder):
    """A log. Inserting is never repeated by itself: after a lost connection it may have been written."""

    def __init__(
        self, datastore: postgres.PostgresDatastore, *, events_table_name: str = "stored_events"
    ) -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        self.sql_create_statements: list[Composed] = []
        self._names = log_names(datastore.schema, events_table_name)
        self.check_identifier_length(self._names.append)
        self._append = append_events_statement(self._names.schema, self._names.append)

    def insert_events(self, stored_events: Sequence[StoredEvent], **kwargs: Any) -> Sequence[int] | None:
        """Write the events, and what comes with them, in one transaction; return their positions.

        Raises IntegrityError when a stream has an event of the same version already.
        """
        tracking: Tracking | None = kwargs.get("tracking")
        if not stored_events and tracking is None:
            return None
        with (
            self.datastore.get_connection() as connection,
            nullcontext() if tracking is None else connection.transaction(),
        ):
            if tracking is not None:
                with connection.cursor() as cursor:
                    self._insert_events(cursor, stored_events, tracking=tracking)
            return self._appended(connection, stored_events) if stored_events else None

    def _appended(
        self, connection: Connection[DictRow], stored_events: Sequence[StoredEvent]
    ) -> Sequence[int]:
        rows = [
            (
                getattr(event, "tenant_id", event.originator_id),
                event.originator_id,
                event.originator_version,
                event.topic,
                event.state,
                0,
            )
            for event in stored_events
        ]
        with connection.cursor(binary=True, row_factory=tuple_row) as cursor:
            found = cursor.execute(
                self._append, event_parameters(rows, self._pack_id), prepare=True
            ).fetchone()
        assert found is not None
        return list(range(found[0] + 1, found[0] + 1 + len(rows)))

    def _create_table(self, curs: Cursor[DictRow]) -> None:
        id_type = self.datastore.originator_id_type
        if self._stages(curs) == 0:
            curs.execute(_MAKE.format(tables=tables_sql(self._names, id_type)).encode())
        curs.execute(_TURN.format(Identifier(self._names.schema, self._names.events)))
        if (made := self._stages(curs)) < len(_STAGES):
            curs.execute(tables_sql(self._names, id_type, made=made).encode())
        if self._missing(curs, "to_regproc", self._names.append):
            curs.execute(append_sql(self._names, id_type).encode())
        super()._create_table(curs)

    def _stages(self, curs: Cursor[DictRow]) -> int:
        """Return how many of the files of a log it has been made by already."""
        return sum(not self._missing(curs, "to_regclass", getattr(self._names, table)) for table in _STAGES)

    def _missing(self, curs: Cursor[DictRow], look_up: str, name: str) -> bool:
        qualified = Identifier(self._names.schema, name).as_string()
        curs.execute(SQL("SELECT {}(%s) IS NULL AS missing").format(Identifier(look_up)), (qualified,))
        row = curs.fetchone()
        return row is not None and row["missing"]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> PollingSubscription:
        """Follow the log from after position `gt`."""
        return PollingSubscription(self, gt=gt, topics=topics)


class TenantProcessRecorder(postgres.PostgresProcessRecorder, TenantApplicationRecorder):
    """A log whose application tracks others: where it is, and what it wrote for it, in one transaction."""


class PollingSubscription(ListenNotifySubscription[TenantApplicationRecorder]):
    """Follows the log by looking at its end, so that nothing falls between a look and a notice."""

    def _loop_on_pull(self) -> None:
        try:
            while not self._has_been_stopped:
                self._pull()
                self._has_been_notified.wait(_POLL)
        except BaseException as error:  # noqa: BLE001 raised again by whoever iterates
            self._thread_error = self._thread_error or error
            self.stop()
