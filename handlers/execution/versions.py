"""What other versions of the service know, while two of them run, as in a rolling upgrade.

Every worker writes down which commands, facts and steps of sagas it knows. One that meets what it does not
know looks there: what a newer worker knows is left to that one, and nothing is given up by an older one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b
from typing import Any, Literal

import psycopg
import structlog

from handlers.adapters.standstill import Standstill
from handlers.adapters.tasks import end, watched
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore
from sagas.definition import Saga
from sagas.registry import SAGAS
from tenant_domain.decision import Command
from tenant_domain.registry import COMMANDS, EVENTS

log = structlog.get_logger()

Who = Literal["nobody", "gone", "alive"]
"""Who else knows something: no version, one of which no worker runs any more, or one that does run."""

_SAY = """
INSERT INTO service.registries (fingerprint, commands, facts, steps, seen_at)
VALUES (%s, %s, %s, %s, clock_timestamp())
ON CONFLICT (fingerprint) DO UPDATE SET seen_at = excluded.seen_at"""

_ASK = """
SELECT fingerprint, seen_at, commands && %s::text[] OR facts && %s::text[] OR steps && %s::text[]
FROM service.registries WHERE fingerprint <> %s"""

INTERVAL = 3.0
"""Seconds between two times that a worker says what it knows, and looks who else has said so."""

SILENCE = 15.0
"""Seconds after which a version that nobody has spoken for is gone: some intervals, for a busy machine."""


class Versions:
    """Says what this version knows, and which others live: those whose word is still renewed.

    How long it was not is counted by this worker's own monotonic clock (decision 0029). A version that is met
    for the first time lives, until it has been silent for long enough.
    """

    def __init__(self, store: EventStore, *, sagas: Mapping[str, Saga] = SAGAS) -> None:
        self._store = store
        self._silent = Standstill[str](2 * INTERVAL)
        self._commands = sorted(key for spec in COMMANDS.values() for key in command_keys(spec.form))
        self._facts = sorted(fact_key(name, cls.schema) for name, cls in EVENTS.items())
        self._steps = sorted(key for saga in sagas.values() for key in step_keys(saga))
        known = "\n".join((*self._commands, "", *self._facts, "", *self._steps))
        self._fingerprint = blake2b(known.encode(), digest_size=16).hexdigest()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to say it; a second call changes nothing."""
        if self._task is None:
            self._task = watched(self._run(), "versions")

    async def stop(self) -> None:
        """Say no more: this worker takes nothing over."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    async def who_knows(
        self, *, commands: Iterable[str] = (), facts: Iterable[str] = (), steps: Iterable[str] = ()
    ) -> Who:
        """Return who else knows any of these. Raises StoreError."""
        async with self._store.transaction() as transaction:
            knowing = await self._look(transaction.connection, list(commands), list(facts), list(steps))
        if not knowing:
            return "nobody"
        return "alive" if min(knowing) < SILENCE else "gone"

    async def _look(
        self,
        connection: psycopg.AsyncConnection[Any],
        commands: list[str],
        facts: list[str],
        steps: list[str],
    ) -> list[float]:
        """Look at all other versions; return for how many seconds each was silent that knows any of these."""
        values = (commands, facts, steps, self._fingerprint)
        rows = await (await connection.execute(_ASK, values)).fetchall()
        silent = self._silent.look({fingerprint: seen_at for fingerprint, seen_at, _ in rows})
        return [silent[fingerprint] for fingerprint, _, knows in rows if knows]

    async def _run(self) -> None:
        while True:
            try:
                async with self._store.transaction() as transaction:
                    values = (self._fingerprint, self._commands, self._facts, self._steps)
                    await transaction.connection.execute(_SAY, values)
                    await self._look(transaction.connection, [], [], [])
            except (StoreError, psycopg.Error, OSError, TimeoutError) as error:
                log.debug("not said what this version knows", error=repr(error))
            await asyncio.sleep(INTERVAL * random.uniform(0.8, 1.2))  # noqa: S311


def fact_key(name: str, schema: int) -> str:
    """Return what a fact is known by: its stored name in one version of its fields."""
    return f"{name}@{schema}"


def command_keys(form: type[Command]) -> list[str]:
    """Return what a command and its fields are known by: its name, and `name.field`."""
    return [form.name_, *(f"{form.name_}.{field}" for field in form.model_fields)]


def step_keys(saga: Saga) -> list[str]:
    """Return what a saga and its steps are known by: its kind, and `kind.step`."""
    return [saga.kind, *(step_key(saga.kind, step.name) for step in (*saga.retired, *saga.steps))]


def step_key(kind: str, step: str) -> str:
    """Return what a step of a saga of that kind is known by."""
    return f"{kind}.{step}"


class Outdated(Exception):
    """A newer version knows what this one has met: the worker steps aside.

    It comes back once nobody who knows any of these lives.
    """

    def __init__(
        self, *, commands: Collection[str] = (), facts: Collection[str] = (), steps: Collection[str] = ()
    ) -> None:
        super().__init__(f"a newer version knows {', '.join((*commands, *facts, *steps))}")
        self.commands, self.facts, self.steps = tuple(commands), tuple(facts), tuple(steps)
