"""Effects: what a step of a saga does to the world, behind a table of names.

An effect is told nothing but its work. It may be done twice (a worker died, a step is retried, an undo is
repeated), and then leaves things as if it had been done once. Its errors are sentences without secrets or
personal data.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from psycopg import AsyncConnection

from tenant_domain.catalogue import Policy
from tenant_domain.decision import Event
from tenant_domain.operation.state import Operation
from tenant_domain.tenant.state import Tenant
from tenant_domain.values import Json


class EffectFailed(Exception):
    """The effect failed; tried again it may succeed. Its text is kept and shown."""


class PermanentlyFailed(EffectFailed):
    """The effect failed and will fail again: nobody needs to try."""


class Work(NamedTuple):
    """What an effect is to work on, under the service's policy.

    `facts` are the events that the step's completion will add. An effect inside the database has a
    `connection` in the transaction that commits them; one outside has none.
    """

    tenant_id: UUID
    tenant: Tenant
    operation: Operation
    facts: tuple[Event, ...]
    policy: Policy
    connection: AsyncConnection[Any] | None = None

    @property
    def transaction(self) -> AsyncConnection[Any]:
        """The connection of an effect inside the database."""
        assert self.connection is not None, "an effect inside the database was called as one outside"
        return self.connection


Output: TypeAlias = Mapping[str, Json]
Effect: TypeAlias = Callable[[Work], Awaitable[Output | None]]
Effects: TypeAlias = Mapping[str, Effect]
