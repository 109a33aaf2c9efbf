"""Histories: logs of tenants and their operations, made of any facts in any order behind a first one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

from hypothesis import strategies as st

from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from handlers.wire.events import Meta, encoded
from tenant_domain.decision import Event
from tenant_domain.operation import events as op
from tenant_domain.registry import ENTITIES
from tenant_domain.subdomain.events import SubdomainClaimed
from tenant_domain.tenant import events as ten

NO_META = Meta()
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
STEPS = ("validate", "create_schema", "activate")


def born(name: str = "Ada & Søn", subdomain: str = "ada", plan: str = "basic", **more: Any) -> Event:
    admin = ten.AdminContact(email="ada@example.com", name="Ada")
    facts: dict[str, Any] = {"operation_id": str(UUID(int=1)), "region": "eu-central", "admin": admin, **more}
    return ten.ProvisioningStarted(tenant_name=name, subdomain=subdomain, plan=plan, **facts)


def started(operation_id: UUID, tenant_id: UUID, kind: str = "provisioning") -> Event:
    return op.OperationStarted(
        operation_id=str(operation_id), tenant_id=str(tenant_id), kind=kind, steps=STEPS, started_at=NOON
    )


def later(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def tenant_fact(kind: int, n: int) -> Event:
    """One of the facts that can follow in a tenant's stream; `n` varies its fields."""
    operation_id = str(UUID(int=n + 1))
    facts: Sequence[Event] = (
        ten.ProfileUpdated(tenant_name=f"Náme %_\\ {n}"),
        ten.ProfileUpdated(subdomain=f"sub-{n}", settings={"theme": "dark", "n": n, "old": None}),
        ten.ProfileUpdated(metadata={"crm": str(n)}, settings={"n": None}),
        ten.DefaultsConfigured(
            operation_id=operation_id, quotas={"users": n}, flags={"sso": n % 2 == 0}, branding={"theme": "x"}
        ),
        ten.Activated(operation_id=operation_id),
        ten.Suspended(operation_id=operation_id, reason="unpaid"),
        ten.AccessClosed(operation_id=operation_id),
        ten.Resumed(operation_id=operation_id),
        ten.AccessOpened(operation_id=operation_id),
        ten.StatusReverted(operation_id=operation_id, status="active"),
        ten.ProvisioningFailed(operation_id=operation_id, reason="no schema"),
    )
    return facts[kind % len(facts)]


def operation_fact(kind: int, n: int) -> Event:
    """One of the facts that can follow in an operation's stream; `n` varies its fields."""
    step = (*STEPS, "inserted_later")[n % 4]
    facts: Sequence[Event] = (
        op.StepStarted(step=step, attempt=n + 1, started_at=later(n)),
        op.StepCompleted(step=step, attempt=n + 1, started_at=later(n), finished_at=later(n + 1)),
        op.StepFailed(
            step=step, attempt=n + 1, error="late", started_at=NOON, finished_at=later(1), retry_at=later(n)
        ),
        op.StepCompensated(step=step, attempt=1, finished_at=later(n)),
        op.CompensationStarted(ending="rolled_back", reason="late"),
        op.OperationParked(step=step, reason="needs a person"),
        op.OperationRetried(),
        op.OperationSucceeded(finished_at=later(n)),
        op.OperationRolledBack(reason="late", finished_at=later(n)),
        op.OperationCancelled(reason="asked", finished_at=later(n)),
    )
    return facts[kind % len(facts)]


class History:
    """A log that grows. `facts` has all that was added, by stream; `tenants` the tenant of each stream."""

    def __init__(self) -> None:
        self.facts: dict[UUID, list[Event]] = {}
        self.tenants: dict[UUID, UUID] = {}
        self._versions: dict[UUID, int] = {}
        self._rows: list[EventRow] = []

    def add(self, tenant_id: UUID, stream_id: UUID, *events: Event, meta: Meta = NO_META) -> None:
        """Add the next facts of a stream."""
        for event in events:
            self.facts.setdefault(stream_id, []).append(event)
            self.add_raw(tenant_id, stream_id, event.name, encoded(event, meta))

    def add_raw(self, tenant_id: UUID, stream_id: UUID, topic: str, state: bytes) -> None:
        """Add whatever stands for the next fact of a stream."""
        version = self._versions[stream_id] = self._versions.get(stream_id, 0) + 1
        self.tenants[stream_id] = tenant_id
        self._rows.append(EventRow(tenant_id, stream_id, version, topic, state, 0))

    def tenant(self, name: str = "Ada & Søn", **more: Any) -> UUID:
        """Add the birth of a new tenant and return its id."""
        tenant_id = uuid4()
        self.add(tenant_id, tenant_id, born(name, **more))
        return tenant_id

    def operation(self, tenant_id: UUID, kind: str = "provisioning") -> UUID:
        """Add the start of a new operation of a tenant and return its id."""
        operation_id = uuid4()
        self.add(tenant_id, operation_id, started(operation_id, tenant_id, kind))
        return operation_id

    def run(self, moves: Iterable[Move]) -> None:
        """Add the facts of `moves` to new tenants and operations."""
        tenants: dict[int, UUID] = {}
        operations: dict[int, UUID] = {}
        for who, what, n in moves:
            if who not in tenants:
                tenants[who] = self.tenant(f"Tenant {who}", subdomain=f"t-{who}")
            elif what < 5 and who not in operations:
                operations[who] = self.operation(tenants[who])
            elif what < 11:
                self.add(
                    tenants[who], operations.get(who, tenants[who]), self._fact(who in operations, what, n)
                )
            elif what < 22:
                self.add(tenants[who], tenants[who], tenant_fact(what, n))
            else:
                label = f"t-{who}-{n}"
                claimed = SubdomainClaimed(subdomain=label, tenant_id=str(tenants[who]))
                self.add(tenants[who], uuid5(tenants[who], label), claimed)

    def _fact(self, of_operation: bool, what: int, n: int) -> Event:
        return operation_fact(what + n, n) if of_operation else tenant_fact(what, n)

    async def append(self, store: EventStore, batch: int = 500) -> int:
        """Append what was added since the last time, in batches, and return the log's end."""
        rows, self._rows = self._rows, []
        head = 0
        for start in range(0, len(rows), batch):
            head = (await store.append(Batch(events=rows[start : start + batch]))).head
        return head

    def folded(self, stream_id: UUID, entity: str, upto: int | None = None) -> Any:
        """Return what the first `upto` facts of a stream, or all of them, fold to."""
        state = None
        for event in self.facts[stream_id][:upto]:
            state = ENTITIES[entity].evolve(state, event)
        return state


Move = tuple[int, int, int]
"""Which tenant, which kind of fact, and a number that varies its fields."""

moves = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 23), st.integers(0, 9)), max_size=60)
