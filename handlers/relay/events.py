"""The relay of events: the log, from where the stream ends, into the stream.

It keeps no progress of its own. Positions equal sequences, so the stream's last sequence says how far the
relay is, whatever was purged; the outlet's fences see to it that nothing is stored twice, out of order, or
behind a hole. Several relays may run: one whose publishing is refused stands by and watches, and takes over
when the stream stands still while the log has more. A relay that was paused and wakes up is refused alike.

A stream that is missing is made again and filled from the first event; one that was cut back by a power
failure is filled from its end. One that holds what the log does not have (a stranger's message, or events
that a failover of the database lost) is told of loudly, and made anew from the log, where the log is surely
the one that it was made of, as its mark says (handlers/store/identity.py). Else it is left alone until
somebody rebuilds it: going on would lose events for those who listen. One that lost its first messages (a
purge, a limit that somebody set) is made anew alike.

No event holds up those behind it. Where publishing failed right behind the same one before, the next goes
alone; one that no message can carry, or that the server refuses for good, goes out as a claim check.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

import structlog
from nats.aio.client import Client
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from handlers import tracing
from handlers.adapters import jetstream
from handlers.adapters.beats import Beat, Beats
from handlers.adapters.hints import CommitListener
from handlers.adapters.jetstream import Json
from handlers.adapters.pace import Pace
from handlers.relay.claims import TRIES, Claims, Doubt, carried, claim_of
from handlers.relay.cloud_events import Message, claim_check
from handlers.relay.displaced import displaced
from handlers.relay.likeness import beginning, differs_at, first_difference, is_cut
from handlers.relay.metrics import RelayMetrics
from handlers.relay.outlet import Outlet, OutOfPlace, Refused, Run
from handlers.relay.replacing import Recreate, replace
from handlers.relay.standby import Hints, Restarted, keep_on
from handlers.store.event_store import EventStore, StoredEvent, may_go_on
from handlers.store.identity import LogIdentity
from handlers.wire.events import traceparent_of
from handlers.wire.subjects import Subjects

log = structlog.get_logger()

RUNS = 4
"""Runs in flight: one is made while the server stores the others."""

INTERVAL = 0.004
"""Seconds between two looks at the log that hints cause: the first event after a pause goes at once, those of
a steady trickle a few together, at a fraction of the cost."""

GRACE = 1.0
"""Seconds that a missing stream is given before it is made again: a rebuild makes it at once, its own way."""


JITTER = 0.5
"""Seconds up to which a relay waits before it makes a stream anew: of several, mostly one does."""


class Astray(Exception):
    """The stream holds what the log does not have: a stranger's message, or what a restored backup lost.

    `position` is the first at which they differ; None where the stream has only lost what it began with.
    """

    def __init__(self, stream: str, position: int | None, info: Json, head: int) -> None:
        first, last = info["state"]["first_seq"], info["state"]["last_seq"]
        what = (
            f"has lost the positions from {beginning(info)} to {first - 1}"
            if position is None
            else f"holds another message than the log from position {position} on"
        )
        super().__init__(f"{stream} {what} (the stream is at {last}, the log at {head})")


class EventRelay:
    """A relay of the log of `store` into `stream`; `run` it.

    `declare` makes the streams that are missing. `window` bounds the events that are published and not yet
    acknowledged; more gains nothing. In seconds: `poll` is how long it waits for a hint before it looks by
    itself, `patience` how long for an acknowledgement, `takeover` how long it lets the stream of another
    relay stand still. `commits` is the process's, where it has more that listens. `recreate` makes the stream
    anew where that is right; without it that is left to people.
    """

    def __init__(
        self,
        nc: Client,
        store: EventStore,
        subjects: Subjects,
        stream: str,
        declare: Callable[[], Awaitable[object]],
        *,
        window: int = 1000,
        poll: float = 1.0,
        patience: float = 5.0,
        takeover: float = 0.25,
        metrics: RelayMetrics,
        commits: CommitListener | None = None,
        beat: Beat | None = None,
        recreate: Recreate | None = None,
    ) -> None:
        self._beat = beat or Beats().engine("relay of events")
        self._nc = nc
        self._store = store
        self._subjects = subjects
        self._commits = commits or CommitListener(nc, subjects.hint("committed"))
        self._stream = stream
        self._declare = declare
        self._recreate = recreate
        self._held: tuple[str, int] | None = None
        """Which stream (when it was made) was held against which incarnation of the log thoroughly."""
        self._chunk = max(1, window // RUNS)
        self._takeover = takeover
        self._outlet = Outlet(nc, patience)
        self._hints = Hints(poll)
        self._metrics = metrics
        self.claims = Claims(store, stream, metrics)
        """What stands in the stream without its content."""
        self._doubt = Doubt()

    async def run(self) -> NoReturn:
        """Relay until cancelled; a lost server is waited for."""
        async with self._outlet.listening(), self._commits.heard_by(self._hinted):
            await keep_on(self._follow, self._stand_by, self._ended)

    def _hinted(self, hint: bytes) -> None:
        if hint.isdigit():
            self._metrics.heard(int(hint))
        self._hints.heard()

    def _ended(self, error: Exception, failures: int) -> None:
        self._outlet.forget()
        self._doubt.fail(error)
        if isinstance(error, OutOfPlace):
            self._metrics.refusals.inc()
            log.info("relay stands by", stream=self._stream, reason=str(error))
            return
        if isinstance(error, Restarted):
            log.info("relay looks at the stream again", stream=self._stream)
            return
        astray = isinstance(error, Astray)
        self._metrics.astray.set(astray)
        report = log.error if astray else log.warning
        report("relay interrupted", stream=self._stream, error=repr(error), failures=failures)

    async def _follow(self) -> None:
        """Publish what the log has beyond the stream's end, until nothing came for the time of a poll."""
        incarnation = self._store.incarnation.number
        last, former = await self._end_of_stream(), ""
        self._metrics.astray.set(0)
        self._metrics.reached(last)
        if self._doubt.begin(last):
            last, former = await self._alone(last)
        flight: deque[tuple[Run, Span]] = deque()
        pace = Pace(INTERVAL)
        while True:
            self._hints.looking()
            events = await self._store.read(last, self._chunk)
            if self._store.incarnation.number != incarnation:
                raise Restarted
            if events:
                messages, claims = carried(events, self._subjects, self._outlet.largest)
                if claims:
                    await self.claims.keep(claims)
                span = _span(events)
                run = await self._outlet.send(messages, former)
                flight.append((run, span))
                last, former = run.last, run.last_id
            more = bool(events) and (may_go_on(events, self._chunk) or last < events[-1].position)
            while flight and (not more or len(flight) >= RUNS):
                await self._land(*flight.popleft())
            self._beat.well()
            if not more:
                if not await self._hints.come():
                    return
                await pace.turn()

    async def _alone(self, last: int) -> tuple[int, str]:
        """Publish the event behind `last`, which failed before, alone: whole, or as a claim check.

        Returns its position and id. Raises NotStored where the server takes neither.
        """
        events = await self._store.read(last, 1)
        if not events:
            return last, ""
        messages, claims = carried(events, self._subjects, self._outlet.largest)
        reason = "the server does not acknowledge it"
        if not claims and self._doubt.silences < TRIES:
            try:
                return await self._one(messages[0])
            except Refused as refusal:
                if not refusal.for_good:
                    raise
                reason = f"the server refuses it: {refusal}"
        await self.claims.keep(claims or [claim_of(events[0], reason)])
        return await self._one(claim_check(events[0], self._subjects))

    async def _one(self, event: Message) -> tuple[int, str]:
        run = await self._outlet.send([event], "")
        await self._land(run, INVALID_SPAN)
        return run.last, run.last_id

    async def _land(self, run: Run, span: Span) -> None:
        await self._outlet.stored(run)
        span.end()
        self._metrics.reached(run.last)
        self._metrics.events.inc(run.size)

    async def _end_of_stream(self) -> int:
        """Return the stream's last sequence. Raises Astray where the log is not at one with it."""
        info = await self._present()
        held = (info["created"], self._store.incarnation.number)
        other = await self._difference(info, thorough=held != self._held)
        if other is not None or is_cut(info):
            info = await self._made_anew(info, other)
        self._held = held
        return info["state"]["last_seq"]

    async def _difference(self, info: Json, *, thorough: bool) -> int | None:
        return await first_difference(self._nc, self._store, self._stream, info, thorough=thorough)

    async def _made_anew(self, info: Json, other: int | None) -> Json:
        """Make a stream anew that differs from position `other` on, or (None) has lost its beginning.

        Raises Astray where it differs and that is not right. One that lacks its beginning is left as it is
        then: going on loses nothing more.
        """
        head = await self._store.head()
        astray = Astray(self._stream, other, info, head)
        self._metrics.astray.set(1)
        mark, log_now = LogIdentity.of(info["config"].get("metadata")), await self._store.identity()
        if self._recreate is None or mark is None or not log_now.follows(mark):
            if other is None:
                return info
            raise astray
        log.error("stream is made anew from the log", stream=self._stream, why=str(astray))
        await asyncio.sleep(random.uniform(0, JITTER))  # noqa: S311
        now = await self._present()
        still = await self._difference(now, thorough=True)
        if still is not None or is_cut(now):
            first, same = min(beginning(now), head + 1), None if still is None else still - 1
            if still is not None:
                await self._store.append(displaced(self._stream, now, still))
            await self.claims.forget()
            await replace(self._nc, self._subjects, self._stream, self._recreate, first, same=same)
            await self._declare()  # it carries the log's mark of now
            self._metrics.rebuilds.inc()
        return await self._present()

    async def _last_sequence(self) -> int:
        return (await self._present())["state"]["last_seq"]

    async def _present(self) -> Json:
        """Return what the server says of the stream; a missing one is made."""
        info = await jetstream.stream_info(self._nc, self._stream)
        if info is None:
            await asyncio.sleep(GRACE)
            log.warning("stream is missing, and made again", stream=self._stream)
            await self.claims.forget()
            await self._declare()
            info = await jetstream.call(self._nc, f"STREAM.INFO.{self._stream}")
        return info

    async def _stand_by(self) -> None:
        """Return when the stream stands still while the log has more, or where it holds something else."""
        former = await self._last_sequence()
        while True:
            await asyncio.sleep(self._takeover * random.uniform(1, 1.5))  # noqa: S311 - jitter
            last = await self._last_sequence()
            if last == former and (await self._store.read(last, 1) or await self._strange(last)):
                return
            former = last
            self._beat.well()

    async def _strange(self, sequence: int) -> bool:
        return await differs_at(self._nc, self._store, self._stream, sequence)


def _span(events: Sequence[StoredEvent]) -> Span:
    """Begin the span of publishing a run, with a link to the command of each event; a lost run has none."""
    if not tracing.on:
        return INVALID_SPAN
    attributes = {"tenants.events": len(events), "tenants.position": events[-1].position}
    parents = (traceparent_of(event.state) for event in events)
    return tracing.batch("publish events", parents, attributes, SpanKind.PRODUCER)
