"""Work for effects, from a rehearsed provisioning."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from handlers.adapters.effects import Work
from handlers.adapters.keys import MasterKey
from tests.sagas.rehearsal import Rehearsal

KEY = MasterKey(b"k" * 32)


def work_on(step: str = "notify") -> Work:
    """Return the work of a step of a new tenant."""
    rehearsal = Rehearsal.of("provisioning")
    while (action := rehearsal.saga.steps[len(_done(rehearsal))]).name != step:
        rehearsal.step()
    facts = tuple(event for _, event in action.facts(rehearsal.scene()))
    return Work(rehearsal.tenant_id, rehearsal.tenant, rehearsal.operation, facts, rehearsal.scene().policy)


def inside(work: Work, connection: AsyncConnection[Any]) -> Work:
    """Return the work with a connection."""
    return work._replace(connection=connection)


def of_tenant(work: Work, tenant_id: UUID) -> Work:
    """Return the work for another tenant."""
    return work._replace(tenant_id=tenant_id)


def _done(rehearsal: Rehearsal) -> list[str]:
    return [step.name for step in rehearsal.operation.steps if step.status == "completed"]
