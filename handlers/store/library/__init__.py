"""The `eventsourcing` library on our log: PERSISTENCE_MODULE=handlers.store.library.

An application of the library gets a log of its own, named after it. With POSTGRES_SCHEMA=service it works on
the service's log instead, whose events it sees as `Fact`. For tools and tests: it is synchronous, and polls.
"""

from __future__ import annotations

from typing import Any

from eventsourcing import postgres
from eventsourcing.persistence import ApplicationRecorder, Mapper, ProcessRecorder, Transcoder
from psycopg.conninfo import conninfo_to_dict

from handlers.store.library.mapper import Fact, TenantMapper
from handlers.store.library.recorders import (
    TenantAggregateRecorder,
    TenantApplicationRecorder,
    TenantProcessRecorder,
)
from handlers.store.library.transcoder import ExactTranscoder

__all__ = ["Fact", "TenantFactory", "TenantMapper", "environment"]

SERVICE = "service"


def environment(postgres_url: str, schema: str = SERVICE) -> dict[str, str]:
    """Return the library's environment for this database."""
    parts = conninfo_to_dict(postgres_url)
    return {
        "PERSISTENCE_MODULE": __name__,
        "POSTGRES_HOST": str(parts.get("host", "localhost")),
        "POSTGRES_PORT": str(parts.get("port", 5432)),
        "POSTGRES_USER": str(parts.get("user", "")),
        "POSTGRES_PASSWORD": str(parts.get("password", "")),
        "POSTGRES_DBNAME": str(parts.get("dbname", "")),
        "POSTGRES_SCHEMA": schema,
    }


class TenantFactory(postgres.PostgresFactory):
    """Makes our recorders and mapper; configured as the library's own, but for its database functions."""

    aggregate_recorder_class = TenantAggregateRecorder
    application_recorder_class = TenantApplicationRecorder
    process_recorder_class = TenantProcessRecorder

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        if self.datastore.enable_db_functions:
            raise OSError(f"{self.POSTGRES_ENABLE_DB_FUNCTIONS} loses events for readers of the log's end")

    def mapper(
        self, transcoder: Transcoder | None = None, mapper_class: type[Mapper[Any]] | None = None
    ) -> Mapper[Any]:
        """Construct a mapper: ours, unless another is named."""
        named = mapper_class or self.env.get(self.MAPPER_TOPIC)
        return super().mapper(transcoder, mapper_class if named else TenantMapper)

    def transcoder(self) -> Transcoder:
        """Construct a transcoder for the library's own kind of events: ours, unless another is named."""
        return super().transcoder() if self.env.get(self.TRANSCODER_TOPIC) else ExactTranscoder()

    def application_recorder(self) -> ApplicationRecorder:
        """Construct the recorder of an application's own log, or of the service's."""
        if self.datastore.schema == SERVICE:
            return TenantApplicationRecorder(self.datastore, events_table_name="events")
        return super().application_recorder()

    def process_recorder(self) -> ProcessRecorder:
        """Construct the recorder of an application that tracks others; never on the service's log."""
        if self.datastore.schema == SERVICE:
            raise OSError("the service's own progress is not kept by the library: use another schema")
        return super().process_recorder()
