"""The door of queries: `<prefix>.queries.<tenant id or fleet>.<query>`, request and reply.

A subscription of our own on the bus's connection, like the durable intake: FastStream's frame costs 130 µs a
message, a bare echo 10, and a query should cost little more than an echo.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager
from time import perf_counter_ns

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from handlers import tracing
from handlers.adapters.tasks import end
from handlers.bus.connection import flush
from handlers.bus.endpoints import Endpoint
from handlers.queries import Queries
from handlers.queries.spans import asking
from handlers.wire import headers as names
from handlers.wire.outcomes import problem
from handlers.wire.subjects import FLEET, Subjects, is_inbox
from projections.questions import Question, answer_schema
from projections.registry import QUESTIONS
from tenant_domain.refusals import Refusal, Unavailable

log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode


class QueryDoor:
    """Answers queries that come over the bus; several processes share them by a queue group."""

    def __init__(
        self, nc: Client, queries: Queries, subjects: Subjects, *, queue_group: str = "queries"
    ) -> None:
        self._nc = nc
        self._queries = queries
        self._queue_group = queue_group
        prefix = subjects.query("", "").removesuffix(".")
        self._subject, self._prefixed = f"{prefix}>", len(prefix)
        self._by_question = {
            key: _endpoint(question, subjects, queue_group) for key, question in QUESTIONS.items()
        }
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def endpoints(self) -> list[Endpoint]:
        """What stands behind the door, with its statistics."""
        return list(self._by_question.values())

    async def start(self) -> None:
        """Answer from now on."""
        self._listening = await self._nc.subscribe(self._subject, queue=self._queue_group, cb=self._received)
        await flush(self._nc)

    async def stop(self) -> None:
        """Take in no more, and end what is at work: whoever asked asks again."""
        if not self._nc.is_closed:
            await self._listening.unsubscribe()
        await end(*self._tasks)

    async def _received(self, msg: Msg) -> None:
        """Begin to answer. Only inboxes are answered: elsewhere the reply would be sent with our rights."""
        if not is_inbox(msg.reply):
            return
        began = perf_counter_ns()
        tenant, _, query = msg.subject[self._prefixed :].partition(".")
        body = self._queries.at_once(tenant, query, msg.data)
        if body is not None and len(body) <= self._nc.max_payload:
            if tracing.on:
                with _traced(tenant, query, msg):
                    await self._reply(msg.reply, body)
            else:
                await self._reply(msg.reply, body)
            self._count(began, tenant, query)
        else:
            task = asyncio.create_task(self._answer(began, tenant, query, msg))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, began: int, tenant: str, query: str, msg: Msg) -> None:
        error = ""
        with _traced(tenant, query, msg):
            try:
                await self._reply(msg.reply, await self._queries.answer(tenant, query, msg.data))
            except Refusal as refusal:
                error = f"{refusal.status}:{refusal.problem}"
                headers = {names.ERROR_CODE: str(refusal.status), names.ERROR: refusal.problem}
                await self._reply(msg.reply, _encode(problem(refusal)), headers)
        self._count(began, tenant, query, error)

    def _count(self, began: int, tenant: str, query: str, error: str = "") -> None:
        endpoint = self._by_question.get((tenant == FLEET, query))
        if endpoint is not None:
            endpoint.count(began, error)

    async def _reply(self, inbox: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        if len(body) > self._nc.max_payload:
            raise Unavailable("The answer is larger than the bus carries; ask for less, or over HTTP.")
        try:
            await self._nc.publish(inbox, body, headers=dict(headers) if headers else None)
        except (nats.errors.Error, OSError) as error:  # the connection went: whoever asked asks again
            log.debug("answer not sent", error=repr(error))


def _traced(tenant: str, query: str, msg: Msg) -> AbstractContextManager[object]:
    return asking(tenant, query, (msg.headers or {}).get(names.TRACEPARENT))


def _endpoint(question: Question, subjects: Subjects, queue_group: str) -> Endpoint:
    return Endpoint(
        f"fleet-{question.name}" if question.fleet else question.name,
        subjects.query(FLEET if question.fleet else "*", question.name),
        queue_group,
        question.form.__doc__ or question.name,
        question.form.model_json_schema(),
        answer_schema(question),
    )
