"""The connection that all parts of the client share, and one request on it, repeated until it is answered."""

from __future__ import annotations

import asyncio
import random
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeout

from handlers.client.arguments import seconds_of
from handlers.client.errors import ClientClosed, NoAnswer
from handlers.client.inbox import Inbox
from handlers.wire.headers import ERROR, ERROR_CODE
from handlers.wire.outcomes import refusal_of
from handlers.wire.subjects import Streams, Subjects
from tenant_domain.refusals import RateLimited, Refusal, Unavailable

FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0
"""Seconds between attempts, doubled each time, where the service does not say how long to wait."""

LEAST_ATTEMPT = 0.1
"""Seconds that an attempt has at least."""


MOST_REMEMBERED = 10_000
"""Tenants whose last write of its own a client remembers, some 150 bytes each."""


class Written:
    """The positions that this client's own outcomes named: what it asks for includes them."""

    def __init__(self) -> None:
        self._by_tenant: dict[UUID, int] = {}
        self._last = self._forgotten = 0

    def note(self, tenant_id: UUID, position: int) -> None:
        """Note the position of an outcome."""
        self._last = max(self._last, position)
        self._by_tenant[tenant_id] = max(position, self._by_tenant.pop(tenant_id, 0))
        if len(self._by_tenant) > MOST_REMEMBERED:
            oldest = next(iter(self._by_tenant))
            self._forgotten = max(self._forgotten, self._by_tenant.pop(oldest))

    def position(self, tenant_id: UUID | None) -> int:
        """Return the position that an answer about a tenant, or (None) about all, has to include."""
        return self._last if tenant_id is None else self._by_tenant.get(tenant_id, self._forgotten)


class Link(NamedTuple):
    """A connection and what stands where on it.

    `written` are the positions of its own writes. `timeout` is how long a call may take that names no time of
    its own, `attempt` how long each of its
    attempts waits for an answer, both in seconds.
    """

    nc: Client
    subjects: Subjects
    streams: Streams
    inbox: Inbox
    timeout: float
    attempt: float
    written: Written

    def within(self, timeout: float | None) -> float:
        """Return how long a call may take that was given `timeout`. Raises InvalidArgument."""
        return self.timeout if timeout is None else seconds_of(timeout)

    def require_open(self) -> None:
        """Raise ClientClosed where the connection was closed."""
        if self.nc.is_closed:
            raise ClientClosed


class Part:
    """A part of the client: what it can do over the link that all parts share."""

    def __init__(self, link: Link) -> None:
        self._link = link


async def ask(link: Link, subject: str, body: bytes, headers: dict[str, str], timeout: float) -> bytes:
    """Send a request until it is answered, for at most `timeout` seconds; return the answer.

    It is sent again when no answer comes, when nobody serves it, and after `unavailable` and
    `rate-limited`, as soon as these allow. Raises the Refusal that was answered, and NoAnswer when an
    attempt stayed without any answer, so that it is not known what came of it; ClientClosed.
    """
    link.require_open()
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    backoff, silent = FIRST_WAIT, False
    while True:
        attempt = min(link.attempt, max(deadline - now(), LEAST_ATTEMPT))
        try:
            return await _once(link, subject, body, headers, attempt)
        except (NatsTimeout, Unavailable, RateLimited) as error:
            failure = error
        except ConnectionClosedError:
            if not silent:
                raise ClientClosed from None
            raise NoAnswer(f"{subject} did not answer before the connection was closed.") from None
        silent = silent or isinstance(failure, NatsTimeout)
        wait = max(_wanted(failure), backoff) * random.uniform(1, 1.25)  # noqa: S311
        # What is left of the time must do for the attempt, else an answer that is on its way would be missed.
        if now() + wait + LEAST_ATTEMPT > deadline:
            break
        backoff = min(backoff * 2, LONGEST_WAIT)
        await asyncio.sleep(wait)
    if isinstance(failure, NatsTimeout):
        raise NoAnswer(f"{subject} did not answer in {timeout:g} s.") from failure
    if silent and isinstance(failure, Unavailable):
        raise NoAnswer(f"{subject} did not answer, and is unavailable now.") from failure
    raise failure


def _wanted(failure: Exception) -> float:
    """Return the seconds that the service wants to be left alone."""
    return float(failure.extra.get("retry_after", 0)) if isinstance(failure, Refusal) else 0.0


async def _once(link: Link, subject: str, body: bytes, headers: dict[str, str], timeout: float) -> bytes:
    try:
        reply = await link.inbox.request(subject, body, headers, timeout)
    except NoRespondersError:
        raise Unavailable(f"Nobody serves {subject}: is the service running, with this prefix?") from None
    except OutboundBufferLimitError:
        raise Unavailable("The connection to NATS is down and its buffer is full.") from None
    if (reply.headers or {}).get(ERROR) is not None:
        raise refusal_in(reply)
    return reply.data


def refusal_in(reply: Msg) -> Refusal:
    """Return the refusal in a reply with error headers: an outcome with an `error`, or a problem itself."""
    headers = reply.headers or {}
    fallback: dict[str, Any] = {
        "type": f"/problems/{headers[ERROR]}",
        "status": headers.get(ERROR_CODE, 500),
    }
    try:
        document = msgspec.json.decode(reply.data, type=dict[str, Any])
    except msgspec.DecodeError:
        return refusal_of(fallback)
    return refusal_of({**fallback, **document.get("error", document)})
