"""The answered door: `<prefix>.rpc.<tenant_id>.<command>`, request and reply.

A subscription of our own on the bus's connection, like the other doors: FastStream's frame would be a tenth
of the time that a lone command takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from time import perf_counter_ns
from typing import Any
from uuid import UUID, uuid4

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from handlers import tracing
from handlers.adapters.tasks import end
from handlers.bus.connection import flush
from handlers.bus.endpoints import Endpoint
from handlers.bus.replies import Replies
from handlers.bus.routing.forwarding import Forwarder
from handlers.execution.bulk import BULK, Bulk, BulkOutcome, ControlOperations
from handlers.execution.decode import Request, command_id_of, decoded
from handlers.execution.reply import Reply, refused
from handlers.execution.spans import followed
from handlers.execution.versions import InsteadOf
from handlers.wire.headers import ERROR
from handlers.wire.outcomes import refusal_of
from handlers.wire.subjects import FLEET, Subjects, is_inbox
from projections.history import OutcomeView
from tenant_domain.decision import Command
from tenant_domain.refusals import InvalidCommand, Refusal, Unavailable
from tenant_domain.registry import COMMANDS

log = structlog.get_logger()

_LISTING = 5.0
"""Seconds for a page of operations: some milliseconds, or the read models are not well."""

QUEUE = "commands"
"""The queue group of all processes that answer commands."""


class AnsweredDoor:
    """Takes commands from wildcard subscriptions, also those whose subject has not the right form.

    A message is handed on to whoever decides it and the next one taken; the reply is published when the
    command is settled. One that asks for a reply anywhere but in an inbox is not looked at. Where the
    server sorts commands by partition they come on other subjects, with the partition's number in them; it
    may be another number than ours, so nothing rests on it. What does not fit its form is answered as
    `instead_of` says.
    """

    def __init__(
        self,
        connection: Callable[[], Client],
        forwarder: Forwarder,
        replies: Replies,
        subjects: Subjects,
        instead_of: InsteadOf,
        *,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._bulk = Bulk(self._listed, forwarder.execute, new_id)
        self._instead_of = instead_of
        self._tasks: set[asyncio.Task[None]] = set()
        self._subjects = subjects
        self._connection = connection
        self._forwarder = forwarder
        self._replies = replies
        self._stem = subjects.rpc("", "").rstrip(".") + "."
        self._sorted = subjects.rpc_partition("").rstrip(".>") + "."
        self._new_id = new_id
        self._endpoints = {name: _endpoint(name, spec.form, subjects) for name, spec in COMMANDS.items()}
        self._endpoints |= {name: _bulk_endpoint(name, subjects) for name in BULK}
        self._subscriptions: list[Subscription] = []

    @property
    def endpoints(self) -> list[Endpoint]:
        """What stands behind the door, with its statistics."""
        return list(self._endpoints.values())

    async def start(self) -> None:
        """Subscribe; when this returns the server knows of it."""
        nc = self._connection()
        for stem in (self._stem, self._sorted):
            self._subscriptions.append(await nc.subscribe(stem + ">", queue=QUEUE, cb=self.take))
        await flush(nc)

    async def stop(self) -> None:
        """Take no more."""
        if not self._connection().is_closed:
            for subscription in self._subscriptions:
                await subscription.unsubscribe()
        self._subscriptions.clear()
        await end(*self._tasks)

    async def take(self, message: Msg) -> None:
        """Have one command answered."""
        inbox = message.reply
        if not is_inbox(inbox):
            log.debug("command without an inbox for its reply ignored")
            return
        began = perf_counter_ns()
        headers = message.headers or {}
        tenant, _, command = self._door(message.subject).partition(".")
        done = partial(self._done, inbox, self._endpoints.get(command), began)
        if tenant == FLEET:
            self._begin(self._control(command, headers, message.data, done))
            return
        try:
            request = self._request(tenant, command, headers, message.data)
        except Refusal as refusal:
            self._begin(self._refuse(tenant, command, headers, refusal, done))
        else:
            if tracing.on:
                request, done = followed(request, done, "answered")
            self._forwarder.submit(request, done)

    def _door(self, subject: str) -> str:
        """Return what stands behind the stem of the subject that the caller sent to."""
        if subject.startswith(self._sorted):
            return subject[len(self._sorted) :].partition(".")[2]
        return subject[len(self._stem) :]

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what takes a while beside the messages that come next."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refuse(
        self,
        tenant: str,
        command: str,
        headers: Mapping[str, str],
        refusal: Refusal,
        done: Callable[[Reply], None],
    ) -> None:
        done(refused(command_id_of(headers), tenant, await self._instead_of(command, refusal)))

    async def _control(
        self, command: str, headers: Mapping[str, str], body: bytes, done: Callable[[Reply], None]
    ) -> None:
        try:
            done(await self._bulk.control(command, headers, body))
        except Refusal as refusal:
            done(refused(command_id_of(headers), FLEET, refusal))

    async def _listed(self, tenant: str, fields: bytes) -> bytes:
        """Ask the bus for operations: the read models may be another process's."""
        try:
            answer = await self._connection().request(
                self._subjects.query(tenant, "operations"), fields, timeout=_LISTING
            )
        except (nats.errors.Error, OSError, TimeoutError):
            raise Unavailable(
                "The operations could not be listed; nothing was done.", retry_after=1
            ) from None
        if (answer.headers or {}).get(ERROR) is not None:
            raise refusal_of(msgspec.json.decode(answer.data))
        return answer.data

    def _done(self, inbox: str, endpoint: Endpoint | None, began: int, reply: Reply) -> None:
        self._replies.send(inbox, reply)
        if endpoint is not None:
            endpoint.count(began, f"{reply.status}:{reply.problem}" if reply.problem else "")

    def _request(self, tenant: str, command: str, headers: Mapping[str, str], body: bytes) -> Request:
        if not command or "." in command:
            raise InvalidCommand.of("subject", f"must be {self._stem}<tenant_id>.<command>")
        return decoded(tenant, command, headers, body, durable=False, new_id=self._new_id)


def _endpoint(name: str, form: type[Command], subjects: Subjects) -> Endpoint:
    schemas = form.model_json_schema(), msgspec.json.schema(OutcomeView)
    return Endpoint(name, subjects.rpc("*", name), QUEUE, form.__doc__ or name, *schemas)


def _bulk_endpoint(name: str, subjects: Subjects) -> Endpoint:
    schemas = ControlOperations.model_json_schema(), msgspec.json.schema(BulkOutcome)
    description = f"{ControlOperations.__doc__}"
    return Endpoint(f"fleet-{name}", subjects.rpc(FLEET, name), QUEUE, description, *schemas)
