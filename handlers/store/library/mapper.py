"""Between stored events and objects: the service's facts by their stored names, the rest as the library."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from eventsourcing.persistence import Mapper, MapperDeserialisationError, StoredEvent

from handlers.wire.events import Meta, decoded, encoded, opened
from tenant_domain.decision import Event
from tenant_domain.registry import ENTITIES, EVENTS


@dataclass(frozen=True)
class Fact:
    """An event of the service as the library handles it. `tenant_id` is only needed to write one."""

    originator_id: UUID
    originator_version: int
    event: Event
    meta: Meta = field(default_factory=Meta)
    tenant_id: UUID | None = None


@dataclass(frozen=True)
class StoredFact(StoredEvent):
    """A stored event that knows its tenant."""

    tenant_id: UUID


class TenantMapper(Mapper[Any]):
    """The library's mapper, with its cipher, compressor and upcasting, that knows facts as well."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Return what is stored of a fact, or of an event of the library's own kind."""
        if not isinstance(domain_event, Fact):
            return super().to_stored_event(domain_event)
        state = encoded(domain_event.event, domain_event.meta)
        if self.compressor:
            state = self.compressor.compress(state)
        if self.cipher:
            state = self.cipher.encrypt(state)
        return StoredFact(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=domain_event.event.name,
            state=state,
            tenant_id=domain_event.tenant_id or domain_event.originator_id,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Return the fact, in today's version, or the event of the library's own kind.

        Raises MapperDeserialisationError when it cannot be read.
        """
        if stored_event.topic not in EVENTS:
            return super().to_domain_event(stored_event)
        try:
            state = self.cipher.decrypt(stored_event.state) if self.cipher else stored_event.state
            body = opened(self.compressor.decompress(state) if self.compressor else state)
            event = decoded(stored_event.topic, body.v, body.data)
        except Exception as error:
            where = f"{stored_event.originator_id} at {stored_event.originator_version}"
            raise MapperDeserialisationError(f"{stored_event.topic} of {where}: {error}") from error
        stream = UUID(str(stored_event.originator_id))
        return Fact(stream, stored_event.originator_version, event, body.meta)


def projector(entity: str) -> Callable[[Any, Iterable[Fact]], Any]:
    """Return what folds facts into a state of `entity`: `repository.get(id, projector_func=…)`."""
    evolve = ENTITIES[entity].evolve

    def project(state: Any, facts: Iterable[Fact]) -> Any:
        for fact in facts:
            state = evolve(state, fact.event)
        return state

    return project
