"""What other versions of the service know, while two of them run, as in a rolling upgrade.

Every worker writes down which commands, facts and steps of sagas it knows. One that meets what it does not
know looks there: what a newer worker knows is left to that one, and nothing is given up by an older one. At a
door where the caller waits he is told to ask again: the next process may be the newer one.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal, TypeAlias

import psycopg
import structlog

from handlers.adapters.standstill import Standstill
from handlers.adapters.tasks import end, watched
from handlers.store.errors import StoreError
from handlers.store.event_store import EventStore
from sagas.definition import Saga
from sagas.registry import SAGAS
from tenant_domain.decision import Command
from tenant_domain.refusals import InvalidCommand, Refusal, Unavailable, UnknownCommand
from tenant_domain.registry import COMMANDS, EVENTS

log = structlog.get_logger()

Who = Literal["nobody", "gone", "alive"]
"""Who else knows something: no version, one of which no worker runs any more, or one that does run."""

InsteadOf: TypeAlias = Callable[[str, Refusal], Awaitable[Refusal]]
"""Takes a command's name and its refusal by its form; returns what to answer: see `Versions.instead_of`."""

_SAY = """
INSERT INTO service.registries (fingerprint, commands, facts, steps, seen_at)
VALUES (%s, %s, %s, %s, clock_timestamp())
ON CONFLICT (fingerprint) DO UPDATE SET seen_at = excluded.seen_at"""

_ASK = """
SELECT fingerprint, seen_at, commands && %s::text[] OR facts && %s::text[] OR steps && %s::text[]
FROM service.registries WHERE fingerprint <> %s"""

INTERVAL = 3.0
"""Seconds between two times that a worker says what it knows, and looks who else has said so."""

_AGAIN = 1
"""Seconds after which a caller may ask again: he may meet a newer process at once."""

_MOST_FIELDS = 100
"""Errors of a form that are looked through: no version has so many new fields."""

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

    def start(self, *, silent: bool = False) -> None:
        """Begin to say it (unless `silent`, where nothing is taken) and to look; once is enough."""
        if self._task is None:
            self._task = watched(self._run(silent), "versions")

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

    async def instead_of(self, command: str, refusal: Refusal) -> Refusal:
        """Return what to answer where a command does not fit its form here, and its caller waits.

        That is the refusal, unless a living newer version knows what this one does not, or nobody can tell.
        """
        keys = unknown_keys(command, refusal.problem, refusal.extra.get("errors", ()))
        if not keys:
            return refusal
        try:
            mixed = await self.who_knows(commands=keys) == "alive"
        except StoreError:
            why = "Whether a newer version of the service knows the command could not be looked up"
            return Unavailable(f"{why}; nothing was done.", retry_after=_AGAIN)
        if not mixed:
            return refusal
        why = "Two versions of the service are running, as in an upgrade, and this process has the older one"
        return Unavailable(f"{why}; nothing was done: send the command again.", retry_after=_AGAIN)

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

    async def _run(self, silent: bool) -> None:
        while True:
            try:
                async with self._store.transaction() as transaction:
                    values = (self._fingerprint, self._commands, self._facts, self._steps)
                    if not silent:
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


def unknown_keys(command: str, problem: str, errors: Sequence[Mapping[str, str]]) -> list[str]:
    """Return what of a refused command another version may know: its name, or fields that are new."""
    if problem == UnknownCommand.problem:
        return [command] if _is_name(command) else []
    spec = COMMANDS.get(command)
    if spec is None or problem != InvalidCommand.problem:
        return []
    fields = {error["field"] for error in errors[:_MOST_FIELDS]} - spec.form.model_fields.keys()
    return [f"{command}.{field}" for field in sorted(fields) if _is_name(field)]


_is_name = re.compile("[a-z][a-z0-9_]{0,63}").fullmatch
"""What a command or a field can be called; anything else may be bytes that no database takes."""


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
