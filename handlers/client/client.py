"""The client of the tenant service: commands, queries and events over NATS, typed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import UUID

from nats.aio.client import Client

from handlers.client.arguments import id_of, prefix_of, seconds_of, types_of, whole_of
from handlers.client.commands import Commands
from handlers.client.connecting import connected
from handlers.client.events import events
from handlers.client.inbox import Inbox
from handlers.client.link import Link, Written
from handlers.client.reading import Queries
from handlers.client.received import ReceivedEvent
from handlers.client.sending import DurableCommands
from handlers.wire.subjects import INBOX, Streams, Subjects

TIMEOUT = 30.0
"""Seconds that a call may take with all its attempts: a restart of the service is waited out."""

ATTEMPT = 5.0
"""Seconds that one attempt waits: a commit takes milliseconds, so after this its answer was lost."""


class TenantClient(Commands, DurableCommands, Queries):
    """Talks to the tenant service over a connection that its owner opens and closes; `connect` does both.

    Calls take a `timeout` in seconds, for all attempts together. Refusals are raised as the classes of
    `tenant_domain.refusals`, everything else as `handlers.client.errors` says.
    """

    def __init__(
        self,
        nc: Client,
        *,
        prefix: str = "tenants",
        streams: Streams | None = None,
        timeout: float = TIMEOUT,
        attempt: float = ATTEMPT,
    ) -> None:
        subjects = Subjects(prefix_of(prefix))
        patience = seconds_of(timeout), seconds_of(attempt, "attempt")
        super().__init__(Link(nc, subjects, streams or Streams.of(prefix), Inbox(nc), *patience, Written()))

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str | list[str],
        *,
        prefix: str = "tenants",
        streams: Streams | None = None,
        timeout: float = TIMEOUT,
        attempt: float = ATTEMPT,
        inbox_prefix: str = INBOX,
        name: str = "tenants-client",
        options: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Self]:
        """Open a connection, give a client on it, and close it at the end.

        `options` goes to `nats.connect` as it is (credentials, TLS …). Credentials that may use only an
        inbox of their own want it as `inbox_prefix`. Raises Unavailable when no server answers in
        time, Unauthenticated when it does not know the credentials, and InvalidArgument at once for what
        is no URL of a NATS server.
        """
        prefix_of(prefix)
        seconds_of(attempt, "attempt")
        timeout = seconds_of(timeout)
        nc = await connected(url, timeout, {"name": name, "inbox_prefix": inbox_prefix, **(options or {})})
        try:
            yield cls(nc, prefix=prefix, streams=streams, timeout=timeout, attempt=attempt)
        finally:
            await nc.close()

    def subscribe(
        self,
        from_position: int | None = 1,
        *,
        tenant_id: UUID | str | None = None,
        types: Collection[str] | None = None,
    ) -> AsyncGenerator[ReceivedEvent]:
        """Yield all events from a position on (None: those from now on), each once, in order, for ever.

        Only those of one tenant, and of some types (`tenant.activated`), where given. Whoever keeps the
        position of what he has done goes on from the next one and misses nothing, through reconnects and
        on a stream that was lost and rebuilt. Leave it by `contextlib.aclosing` to free it at once. Raises
        PositionsGone when the stream begins later, EventsReplaced when the service lost what was delivered,
        and at once UnknownType (a ValueError) for a type that this version does not know, InvalidArgument,
        and ClientClosed.
        """
        position = None if from_position is None else whole_of(from_position, "from_position", 1)
        tenant = None if tenant_id is None else id_of(tenant_id)
        names = types_of(types)
        self._link.require_open()
        return events(self._link, position, tenant, names)
