"""The part of the client that stores commands: accepted durably, decided a little later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack
from uuid import UUID

from nats.aio.msg import Msg

from handlers.client.durable import stored, stored_all
from handlers.client.errors import NoAnswer
from handlers.client.inbox import Slot
from handlers.client.link import Link, Part
from handlers.client.outcome import Outcome, outcome_of
from handlers.client.queries import queried
from handlers.client.requests import Options, Request, packed
from handlers.wire.headers import REPLY_TO
from tenant_domain.decision import Command
from tenant_domain.refusals import NotFound, TenantNotFound, Unavailable

ASK_AGAIN = 1.0
"""Seconds between questions for an outcome that did not come to the inbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A durable command: at `sequence` in the stream; in bulk, `error` says why it is not."""

    tenant_id: UUID
    command_id: UUID
    sequence: int | None
    error: Exception | None = None
    _link: Link = field(repr=False, compare=False)
    _slot: Slot | None = field(default=None, repr=False, compare=False)

    async def outcome(self, timeout: float | None = None) -> Outcome:
        """Wait for what comes of it: at the inbox given as `Reply-To`, and where nothing comes by asking.

        Raises the Refusal, and NoAnswer after `timeout` seconds (the client's own without one). A refusal
        that is not recorded, of an invalid body for one, reaches only the inbox: send with `reply=True`.
        """
        if self.error is not None:
            raise self.error
        timeout = self._link.within(timeout)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._answer()
        except TimeoutError as error:
            raise NoAnswer.to(self.tenant_id, self.command_id, timeout) from error
        return outcome_of(self._link, self.tenant_id, self.command_id, answer)

    async def _answer(self) -> bytes:
        while True:
            if self._slot is not None and (message := await _arrived(self._slot)) is not None:
                return message.data
            try:
                fields = {"command_id": self.command_id}
                return await queried(self._link, self.tenant_id, "outcome", fields)
            except (NotFound, TenantNotFound, Unavailable, NoAnswer):
                if self._slot is None:
                    await asyncio.sleep(ASK_AGAIN / 10)


async def _arrived(slot: Slot) -> Msg | None:
    """Wait a while for what comes to the inbox; None when it may have been lost."""
    try:
        return await asyncio.wait_for(asyncio.shield(slot.arrived), ASK_AGAIN)
    except TimeoutError:
        return None


class DurableCommands(Part):
    """The durable door."""

    async def send(
        self,
        tenant_id: UUID | str,
        command: Command | str,
        body: Mapping[str, Any] | None = None,
        *,
        reply: bool = False,
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> Sent:
        """Store a command; it is decided after those that stand before it, whatever happens meanwhile.

        With `reply`, its outcome comes to an inbox of this client: `await sent.outcome()`. Raises
        NotAccepted where the stream refuses it, and NoAnswer; InvalidArgument and ClientClosed, before
        anything is sent.
        """
        order, timeout = packed(Request(tenant_id, command, body, **options)), self._link.within(timeout)
        self._link.require_open()
        slot = None
        if reply:
            order.headers[REPLY_TO], slot = await self._link.inbox.slot()
        sequence = await stored(self._link, order, timeout)
        return Sent(
            tenant_id=order.tenant_id,
            command_id=order.command_id,
            sequence=sequence,
            _link=self._link,
            _slot=slot,
        )

    async def send_many(self, commands: Iterable[Request], *, timeout: float | None = None) -> list[Sent]:
        """Store many commands in their order, in atomic batches: some ten times quicker than one by one.

        Returns what became of each, with its `error` where the stream refused it or did not answer:
        sending the same ones again, with their ids, is safe. `timeout` is for each batch. Raises
        InvalidArgument before anything is sent when one of them cannot be, and ClientClosed.
        """
        orders, timeout = [packed(command) for command in commands], self._link.within(timeout)
        self._link.require_open()
        results = await stored_all(self._link, orders, timeout)
        return [
            Sent(
                tenant_id=order.tenant_id,
                command_id=order.command_id,
                sequence=result if isinstance(result, int) else None,
                error=None if isinstance(result, int) else result,
                _link=self._link,
            )
            for order, result in zip(orders, results, strict=True)
        ]
