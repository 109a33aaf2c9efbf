"""Claim checks: what no message can carry gets out all the same, and says where the whole of it is.

An ordered outlet must not wait for one message for good. One that is larger than the servers carry, that they
refuse, or that cannot be made of what is stored, is published without its content, in its place. It is told
of loudly: in the log, as a metric, and in `service.claim_checks`, which `tenantctl doctor` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import msgspec
import structlog

from handlers.relay.cloud_events import Message, claim_check, message
from handlers.relay.metrics import RelayMetrics
from handlers.relay.outlet import NotStored, OutOfPlace, Refused
from handlers.store.event_store import EventStore, StoredEvent
from handlers.wire.subjects import Subjects

log = structlog.get_logger()

TRIES = 5
"""Tries of a lone message that is not acknowledged, and not refused either, before a claim check goes out."""

_KEEP = """
INSERT INTO service.claim_checks (outlet, position, tenant_id, bytes, reason)
SELECT %s, * FROM unnest(%s::bigint[], %s::uuid[], %s::bigint[], %s::text[])
ON CONFLICT DO NOTHING"""

_FORGET = "DELETE FROM service.claim_checks WHERE outlet = %s"


class Claim(NamedTuple):
    """What is published without its content: how many `bytes` it has, and why it cannot go whole."""

    position: int
    tenant_id: UUID
    bytes: int
    reason: str


def carried(
    events: Sequence[StoredEvent], subjects: Subjects, largest: int
) -> tuple[list[Message], list[Claim]]:
    """Return the messages of events, each of `largest` bytes at most, and which of them are claim checks."""
    messages: list[Message] = []
    claims: list[Claim] = []
    for event in events:
        try:
            made = message(event, subjects)
        except (msgspec.MsgspecError, UnicodeError):
            claims.append(claim_of(event, "what is stored is not an event"))
            made = claim_check(event, subjects)
        else:
            if made.size > largest:
                claims.append(claim_of(event, f"the servers carry {largest} bytes, it has {made.size}"))
                made = claim_check(event, subjects)
        messages.append(made)
    return messages, claims


def claim_of(event: StoredEvent, reason: str) -> Claim:
    """Return what is to be told of an event that goes out as a claim check."""
    return Claim(event.position, event.tenant_id, len(event.state), reason)


class Claims:
    """Keeps and tells what the outlet named `outlet`, a stream, could not send whole."""

    def __init__(self, store: EventStore, outlet: str, metrics: RelayMetrics) -> None:
        self._store = store
        self._outlet = outlet
        self._metrics = metrics

    async def keep(self, claims: Iterable[Claim]) -> None:
        """Write down what goes out as a claim check, and tell. Raises StoreError."""
        rows = list(claims)
        if not rows:
            return
        columns = [list(column) for column in zip(*rows, strict=True)]
        async with self._store.transaction() as transaction:
            await transaction.connection.execute(_KEEP, (self._outlet, *columns))
        for claim in rows:
            self._metrics.claim_checks.labels(self._outlet).inc()
            log.error(
                "message goes out as a claim check",
                outlet=self._outlet,
                position=claim.position,
                tenant_id=str(claim.tenant_id),
                bytes=claim.bytes,
                reason=claim.reason,
                advice="raise max_payload of the servers, then rebuild: see `tenantctl doctor`",
            )

    async def forget(self) -> None:
        """Forget what was kept: the outlet is to be filled anew. Raises StoreError."""
        async with self._store.transaction() as transaction:
            await transaction.connection.execute(_FORGET, (self._outlet,))


class Doubt:
    """How often publishing failed right behind the same message: the next one may be what fails.

    `silences` counts those failures at which the server said nothing.
    """

    def __init__(self) -> None:
        self._at: object = None
        self._failures = self.silences = 0

    def begin(self, at: object) -> bool:
        """Begin behind `at`, and return whether it failed there before; elsewhere counting begins anew."""
        if at != self._at:
            self._at, self._failures, self.silences = at, 0, 0
        return self._failures > 0

    def fail(self, error: Exception) -> None:
        """Note what ended a try: whether something that was sent was not stored, and why."""
        self._failures += isinstance(error, NotStored)
        self.silences += isinstance(error, NotStored) and not isinstance(error, OutOfPlace | Refused)
