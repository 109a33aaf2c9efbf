"""The role `commands`: both doors of commands on one executor, and the way to other workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from nats.aio.client import Client

from handlers.adapters.beats import Beats
from handlers.adapters.clock import utc_now
from handlers.adapters.command_stream import CommandStream
from handlers.adapters.hints import CommitTeller
from handlers.adapters.keyring import Keyring
from handlers.bus.answered import QUEUE, AnsweredDoor
from handlers.bus.connection import harden
from handlers.bus.endpoints import Endpoint
from handlers.bus.intake.claims import Claims
from handlers.bus.intake.door import DurableDoor
from handlers.bus.intake.pump import Door
from handlers.bus.intake.upkeep import Upkeep
from handlers.bus.replies import Replies
from handlers.bus.routing.forwarding import PATIENCE, Forwarder
from handlers.bus.routing.owners import HINT, Owners
from handlers.bus.routing.preference import Preference
from handlers.bus.routing.receiving import Receiver
from handlers.execution.executor import Executor
from handlers.execution.metrics import CommandMetrics
from handlers.execution.versions import Outdated, Versions
from handlers.store.cache import StreamCache
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Streams, Subjects
from tenant_domain.catalogue import Policy

_TURNS = 16
"""Partitions of a process that have commands decoded and not yet settled: some batches of full slices."""

WEEK = 7 * 24 * 3600.0

LARGEST_MESSAGE = 1024 * 1024 + 64 * 1024
"""Bytes that one message can have on the bus (the server's default), and what comes with it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a process that takes commands; times in seconds.

    `waiting_commands` of `waiting_bytes` may wait at the answered door, and none longer than
    `unavailable_after` (see Executor). `prefetch_bytes` bounds what is read ahead from the stream in all, and
    `window` the messages of each partition; what a partition reads at once must hold the largest message.
    `tries` is how often a command may fail for a technical reason, with pauses that double from `retry_pause`
    to `longest_pause`. `lease` and `tick` say how soon a dead worker is missed. Outcomes are remembered for
    `retention`, and what is older is cleaned up every `upkeep_interval`.
    """

    cached_states: int = 50_000
    batch_size: int = 500
    waiting_commands: int = 10_000
    waiting_bytes: int = 64 * 1024 * 1024
    unavailable_after: float = 2.0
    partitions: int = 64
    window: int = 500
    prefetch_bytes: int = 64 * 1024 * 1024
    tries: int = 5
    retry_pause: float = 0.2
    longest_pause: float = 2.0
    lease: float = 3.0
    tick: float = 0.25
    retention: float = WEEK
    upkeep_interval: float = 60.0


class CommandsRole:
    """Answers commands and reads its share of the durable ones.

    `nc` is connected, the store open, the schema migrated; the stream may come later. `forwarder` settles
    commands of other doors of this process, too: here or where their partition is owned. `largest` says how
    many bytes a message may have: by default what the connection says.
    """

    def __init__(
        self,
        nc: Client,
        store: EventStore,
        postgres_url: str,
        policy: Policy,
        keyring: Keyring,
        *,
        fingerprint: Callable[[bytes], bytes],
        subjects: Subjects = Subjects(),  # noqa: B008 a named tuple
        streams: Streams = Streams(),  # noqa: B008
        limits: Limits = Limits(),
        metrics: CommandMetrics | None = None,
        now: Callable[[], datetime] = utc_now,
        new_id: Callable[[], UUID] = uuid4,
        beats: Beats | None = None,
        largest: Callable[[], int] | None = None,
    ) -> None:
        metrics, beats = metrics or CommandMetrics(), beats or Beats()
        self._nc = nc
        self._teller = CommitTeller(nc, subjects.hint("committed"))
        me = uuid4()
        self.executor = Executor(
            store,
            policy,
            keyring,
            fingerprint=fingerprint,
            cache=StreamCache(limits.cached_states),
            metrics=metrics,
            committed=self._teller.moved,
            now=now,
            batch_size=limits.batch_size,
            waiting_commands=limits.waiting_commands,
            waiting_bytes=limits.waiting_bytes,
            unavailable_after=limits.unavailable_after,
            beat=beats.engine("executor"),
            largest=largest or (lambda: nc.max_payload),
        )
        self._replies = Replies(self._connection)
        owners = Owners(self._connection, subjects.hint(HINT), store.partition_owners.read)
        self.owners = owners
        self.forwarder = Forwarder(
            self._connection,
            subjects,
            owners,
            self.executor,
            metrics,
            me=me,
            most=limits.waiting_commands,
            most_bytes=limits.waiting_bytes,
            patience=limits.unavailable_after + PATIENCE,
        )
        self._receiver = Receiver(self._connection, self.executor, self._replies, subjects, me)
        self.versions = Versions(store)
        self._answered = AnsweredDoor(
            self._connection,
            self.forwarder,
            self._replies,
            subjects,
            self.versions.instead_of,
            new_id=new_id,
        )
        self._preference = Preference(self._connection, subjects, owners, me, QUEUE, self._answered.take)
        claims = Claims(postgres_url, me, lease=limits.lease)
        door = self._durable(claims, subjects, streams.commands, limits)
        self.durable = DurableDoor(door, metrics, tick=limits.tick, beat=beats.engine("durable door"))
        self.upkeep = Upkeep(
            CommandStream(nc, subjects, streams.commands, claims.everywhere),
            store,
            mine=lambda: 0 in self.durable.partitions,
            retention=limits.retention,
            interval=limits.upkeep_interval,
        )

    def _durable(self, claims: Claims, subjects: Subjects, stream: str, limits: Limits) -> Door:
        return Door(
            connection=self._connection,
            executor=self.executor,
            replies=self._replies,
            claims=claims,
            subjects=subjects,
            stream=stream,
            turns=asyncio.Semaphore(_TURNS),
            slice_size=max(1, limits.batch_size // 4),
            window=limits.window,
            max_bytes=max(limits.prefetch_bytes // limits.partitions, LARGEST_MESSAGE),
            tries=limits.tries,
            pause=limits.retry_pause,
            longest_pause=limits.longest_pause,
            versions=self.versions,
            step_aside=self._step_aside,
        )

    @property
    def endpoints(self) -> list[Endpoint]:
        """What the answered door offers, for service discovery."""
        return self._answered.endpoints

    async def start(self) -> None:
        """Open both doors."""
        harden(self._connection())
        await self._teller.start()
        await self.executor.start()
        await self._replies.start()
        await self._receiver.start()
        await self.owners.start()
        await self.forwarder.start()
        await self._answered.start()
        await self._preference.start()
        await self.durable.start()
        await self.upkeep.start()

    async def stop(self) -> None:
        """Close the doors, settle what came in, and give the partitions back."""
        await self.upkeep.stop()
        await self._preference.stop()
        await self._answered.stop()
        await self.forwarder.stop()
        await self.owners.stop()
        await self.durable.stop()
        await self._receiver.stop()
        await self.executor.stop()
        await self._replies.stop()
        await self._teller.stop()

    def _step_aside(self, newer: Outdated) -> None:
        self.durable.step_aside(newer)

    def _connection(self) -> Client:
        return self._nc
