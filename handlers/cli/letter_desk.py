"""Dead letters as the command line reads them: opened, with what was done about each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import NamedTuple

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.keyring import Keyring
from handlers.bus.dead_letters import Letter, letter, letters, opened
from handlers.bus.letter_handling import Handling, handled
from handlers.cli.exits import Misuse
from handlers.relay.displaced import NOT_IN_LOG
from handlers.store.event_store import EventStore
from handlers.wire.subjects import Streams, Subjects, is_tenant_id
from tenant_domain.refusals import REFUSALS, NotFound, not_known

CHUNK = 100
"""Letters read at a time."""

UNKNOWN = "unknown"
"""The tenant of letters whose subject named none."""

_NOTHING = Handling()

_REASONS = (*REFUSALS, "failed", "max-deliveries", "terminated", NOT_IN_LOG)
_LOOK = "`tenantctl dead-letters list` shows what there is"


class Desk(NamedTuple):
    """Connections to both servers; `keyring` is asked for when there is a sealed body."""

    nc: Client
    store: EventStore
    subjects: Subjects
    streams: Streams
    keyring: Callable[[], Keyring]

    async def one(self, number: int) -> tuple[Letter, Handling]:
        """Return a letter by its number. Raises NotFound."""
        found = await letter(self.nc, self.streams, number)
        if found is None:
            raise NotFound(f"There is no dead letter {number}.")
        handling = await handled(self.store, [found.letter.id])
        return await opened(found, self.keyring), handling.get(found.letter.id, _NOTHING)

    async def chosen(
        self, numbers: tuple[int | None, ...], tenant: str | None, reason: str | None
    ) -> AsyncGenerator[tuple[Letter, Handling]]:
        """Yield letters of these numbers, or where the first is None those of a tenant, or with a reason."""
        if numbers[0] is None:
            async for found in self.found(tenant, None, reason):
                yield found
            return
        for number in numbers:
            assert number is not None
            yield await self.one(number)

    async def found(
        self, tenant: str | None, stream: str | None, reason: str | None
    ) -> AsyncGenerator[tuple[Letter, Handling]]:
        """Yield the letters that were there when it was asked, so that a replay which fails again ends.

        Raises Misuse for a filter that no letter can fit.
        """
        await self._check(tenant, stream, reason)
        info = await jetstream.stream_info(self.nc, self.streams.dead_letters)
        last = info["state"]["last_seq"] if info else 0
        after = 0
        while after < last:
            chunk = await letters(
                self.nc,
                self.subjects,
                self.streams,
                tenant=tenant,
                stream=stream,
                reason=reason,
                after=after,
                limit=CHUNK,
            )
            handling = await handled(self.store, [each.letter.id for each in chunk])
            for each in chunk:
                if each.number <= last:
                    yield await opened(each, self.keyring), handling.get(each.letter.id, _NOTHING)
            if len(chunk) < CHUNK:
                return
            after = chunk[-1].number

    async def _check(self, tenant: str | None, stream: str | None, reason: str | None) -> None:
        """Refuse a tenant that is no id, and a stream or a reason that is neither known nor of any letter."""
        if tenant is not None and tenant != UNKNOWN and not is_tenant_id(tenant):
            raise Misuse(f"--tenant must be the id of a tenant, or {UNKNOWN}, not {tenant!r}")
        any_letter = partial(letters, self.nc, self.subjects, self.streams, limit=1)
        if stream is not None and stream not in self.streams and not await any_letter(stream=stream):
            raise Misuse(f"{not_known('stream', stream, self.streams)} ({_LOOK})")
        if reason is not None and reason not in _REASONS and not await any_letter(reason=reason):
            raise Misuse(f"{not_known('reason', reason, _REASONS)} ({_LOOK})")
