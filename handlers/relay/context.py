"""The relay of the live context: from the log into the bucket TENANT_CONTEXT, an entry for each tenant.

It keeps no progress of its own, like the relay of events. Entries are written in the order of their
positions, each behind the stream's last sequence, so the last one says up to where the log is in the bucket,
and of two relays one is refused and stands by. Whatever else stands at the end (nothing, after the bucket was
lost; a stranger's message; what the log does not have, after a backup was restored) makes it begin at the
first event. An entry is made from the tenant's state as it is now: nobody sees a former one meanwhile.
Keys that somebody purged leave no trace at the end; they are counted now and then, and written again.

Each entry says in which form it was made (a header). Where the last one was made in an earlier form than this
version's, all are written anew: the version before may have left out what it did not know. Of two versions at
work the later one goes on; the earlier one takes over only after the bucket stood still for long.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import NoReturn
from uuid import UUID

import msgspec
import structlog
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.beats import Beat, Beats
from handlers.adapters.hints import CommitListener
from handlers.relay.cloud_events import Message
from handlers.relay.context_keys import lacking, surplus
from handlers.relay.context_place import FORM_HEADER, Place, place_of, time_of
from handlers.relay.metrics import RelayMetrics
from handlers.relay.outlet import Outlet, OutOfPlace
from handlers.relay.standby import Hints, Restarted, keep_on
from handlers.store.event_store import EventStore, Latest
from handlers.wire.events import UnknownEvent
from handlers.wire.headers import MSG_ID
from handlers.wire.subjects import Streams, Subjects
from projections.context import FACTS, FORM, Form, TenantContext, context_of
from tenant_domain.tenant.decide import ref
from tenant_domain.tenant.state import Tenant

log = structlog.get_logger()

RANGE = 1000
"""Positions looked through at once, and so the most entries of one run."""

PACE = 0.05
"""Seconds between the beginnings of two looks at the log that hints cause: the first change after a pause
goes at once, and a flood of commands, which seldom changes an entry, costs twenty looks a second."""

CHECK = 60.0
"""Seconds between two counts of the bucket's keys."""

_KV_OPERATION = "KV-Operation"

_UNFOLDABLE = (UnknownEvent, msgspec.MsgspecError, ValueError)

_encode = msgspec.json.Encoder().encode

LONG = 20
"""Looks, one each `takeover`, for which a bucket with entries of a later version has to stand still before
this one takes over: that version is more likely on its way back than gone."""


class ContextRelay:
    """A relay of tenants' contexts from the log of `store` into the bucket; `run` it.

    `declare` makes the streams that are missing. In seconds: `poll` is how long it waits for a hint before it
    looks by itself, at the log and at the bucket's end, `patience` how long for an acknowledgement,
    `takeover` how long it lets the bucket of another relay stand still while the log has more, `check` lies
    between two counts of the bucket's keys. `commits` is the process's, where it has more that listens.
    `form` is this version's.
    """

    def __init__(
        self,
        nc: Client,
        store: EventStore,
        subjects: Subjects,
        streams: Streams,
        declare: Callable[[], Awaitable[object]],
        *,
        poll: float = 1.0,
        patience: float = 5.0,
        takeover: float = 0.25,
        check: float = CHECK,
        metrics: RelayMetrics,
        commits: CommitListener | None = None,
        beat: Beat | None = None,
        form: Form = FORM,
    ) -> None:
        self._form = form
        self._beat = beat or Beats().engine("relay of the live context")
        self._nc = nc
        self._store = store
        self._commits = commits or CommitListener(nc, subjects.hint("committed"))
        self._streams = streams
        self._declare = declare
        self._takeover = takeover
        self._check, self._check_at = check, 0.0
        self._metrics = metrics
        self._outlet = Outlet(nc, patience)
        self._hints = Hints(poll)
        self._former = ""
        self._place: Place | None = None
        self._held: int | None = None
        """The incarnation of the database that the bucket was held against last."""

    async def run(self) -> NoReturn:
        """Relay until cancelled; a lost server is waited for."""
        async with self._outlet.listening(), self._commits.heard_by(lambda _: self._hints.heard()):
            await keep_on(self._follow, self._stand_by, self._ended)

    async def place(self) -> Place:
        """Return where the bucket is; a missing one is made.

        Raises JetStreamError, StoreError, and nats-py's errors.
        """
        while (found := await place_of(self._nc, self._store, self._streams, self._place)) is None:
            await self._declare()
        return found

    async def begin_anew(self) -> Place:
        """Write the first entries once more, so that any relay goes on from there with all others.

        Returns where the bucket was before. Raises as `place`, and NotStored: try again.
        """
        async with self._outlet.listening():
            self._forget()
            former = await self.place()
            head, place = await self._store.head(), former._replace(position=0)
            while place.position < head and place.sequence == former.sequence:
                place = await self._advance(place, head)
            return former

    def _ended(self, error: Exception, failures: int) -> None:
        self._forget()
        if isinstance(error, Restarted):
            log.info("relay looks at the live context again")
        elif isinstance(error, OutOfPlace):
            log.info("relay of the live context stands by", reason=str(error))
        else:
            log.warning("relay of the live context interrupted", error=repr(error), failures=failures)

    def _forget(self) -> None:
        self._place, self._former = None, ""
        self._outlet.forget()

    async def _follow(self) -> None:
        """Bring the bucket to the log's end again and again, until nothing came for the time of a poll."""
        now = asyncio.get_running_loop().time
        self._former = ""
        incarnation = self._store.incarnation.number
        self._place = place = await self._begin(incarnation)
        while True:
            self._hints.looking()
            looked_at = now()
            head = await self._store.head()
            if self._store.incarnation.number != incarnation:
                raise Restarted
            while place.position < head:
                self._place = place = await self._advance(place, head)
                self._beat.well()
            self._metrics.context_position.set(place.position)
            if looked_at >= self._check_at:
                self._place = place = await self._mend(place)
                self._check_at = looked_at + self._check
            self._beat.well()
            if not await self._hints.come():
                return
            await asyncio.sleep(max(0.0, looked_at + PACE - now()))

    async def _begin(self, incarnation: int) -> Place:
        """Return where the bucket is; with another incarnation of the database, a little before.

        Entries of the last facts may have been made from a state that the database lost.
        """
        place = await self.place()
        if place.is_before(self._form):
            log.info("live context is written anew", former=str(place.form), form=str(self._form))
            place = place._replace(position=0)
        if incarnation == self._held:
            return place
        if self._held is not None:
            place = place._replace(position=max(0, place.position - RANGE))
            self._check_at = 0.0
        self._held = incarnation
        return place

    async def _advance(self, place: Place, head: int) -> Place:
        """Write what the next positions changed, and return where the bucket is then. Raises NotStored."""
        upto = min(place.position + RANGE, head)
        place = await self._write(place, await self._store.latest(FACTS, place.position, upto))
        return place._replace(position=upto)

    async def _mend(self, place: Place) -> Place:
        """Write the entries that somebody purged, and return where the bucket is then. Raises NotStored."""
        facts = await lacking(self._nc, self._store, self._streams, place.position)
        if facts:
            log.warning("entries of the live context were gone", written=len(facts))
        for begin in range(0, len(facts), RANGE):
            place = await self._write(place, facts[begin : begin + RANGE])
        return await self._clear(place)

    async def _clear(self, place: Place) -> Place:
        """Delete the entries of tenants that the log has not, and return where the bucket is then."""
        keys = await surplus(self._nc, self._store, self._streams, place.position)
        if keys:
            log.warning("entries of the live context are of tenants that the log has not", deleted=len(keys))
        for begin in range(0, len(keys), RANGE):
            place = await self._sent(place, _deletions(keys[begin : begin + RANGE], place))
        for key in keys:  # who watches has been told
            await jetstream.call(self._nc, f"STREAM.PURGE.{self._streams.context_stream}", {"filter": key})
        return place

    async def _write(self, place: Place, changed: Sequence[Latest]) -> Place:
        return await self._sent(place, self._messages(await self._entries(changed), place.sequence))

    async def _sent(self, place: Place, messages: list[Message]) -> Place:
        left = messages
        while left:
            run = await self._outlet.send(left, self._former)
            await self._outlet.stored(run)
            self._former = run.last_id
            left = left[run.size :]
        self._metrics.contexts.inc(len(messages))
        form = self._form if messages else place.form
        return place._replace(sequence=place.sequence + len(messages), form=form)

    def _messages(self, entries: Iterable[tuple[TenantContext, datetime]], sequence: int) -> list[Message]:
        """Return the entries as messages, the first behind `sequence`.

        Their ids chain them together, and say when the event was recorded that the entry names.
        """
        messages: list[Message] = []
        for number, (entry, recorded_at) in enumerate(entries, sequence + 1):
            name = f"{number}-{entry.position}@{time_of(recorded_at)}"
            subject = self._streams.context_subject(str(entry.tenant_id))
            headers = f"{MSG_ID}: {name}\r\n{FORM_HEADER}: {self._form}\r\n"
            messages.append(Message(number, name, subject, headers, _encode(entry)))
        return messages

    async def _entries(self, changed: Sequence[Latest]) -> list[tuple[TenantContext, datetime]]:
        states = await self._states([each.tenant_id for each in changed])
        return [
            (
                context_of(each.tenant_id, states[each.tenant_id], each.version, each.position),
                each.recorded_at,
            )
            for each in changed
            if each.tenant_id in states
        ]

    async def _states(self, tenants: Sequence[UUID]) -> dict[UUID, Tenant]:
        """Return the states of tenants; one that cannot be folded is left out, and its entry as it is."""
        try:
            loaded = await self._store.load([ref(tenant) for tenant in tenants])
        except _UNFOLDABLE as error:
            if len(tenants) == 1:
                log.error(
                    "entry of the live context left as it is", tenant_id=str(tenants[0]), error=repr(error)
                )
                return {}
            middle = len(tenants) // 2
            return {**await self._states(tenants[:middle]), **await self._states(tenants[middle:])}
        return {stream: each.state for stream, each in loaded.items() if each.state is not None}

    async def _stand_by(self) -> None:
        """Return when the bucket stands still while the log has more for it, or is an earlier version's."""
        former, looked, stood = await self.place(), 0, 0
        while not former.is_before(self._form):
            await asyncio.sleep(self._takeover * random.uniform(1, 1.5))  # noqa: S311 - jitter
            head, place = await self._store.head(), await self.place()
            if place != former:
                former, looked, stood = place, 0, 0
            elif await self._store.latest(FACTS, max(place.position, looked), head):
                stood += 1
                if stood >= (LONG if place.form > self._form else 1):
                    return
            else:
                looked = head
            self._beat.well()


def _deletions(keys: Sequence[str], place: Place) -> list[Message]:
    """Return the messages that delete these keys (subjects), as clients of a bucket know them."""
    messages: list[Message] = []
    for number, key in enumerate(keys, place.sequence + 1):
        name = f"{number}-deleted"
        messages.append(Message(number, name, key, f"{_KV_OPERATION}: DEL\r\n{MSG_ID}: {name}\r\n", b""))
    return messages
