"""Traffic: sends the samples as any other service would, with plain nats-py, and keeps the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.demo.samples import Sample

ANSWER_WITHIN = 30.0
"""Seconds that an answer may take before the demo says that it is missing."""


@dataclass(frozen=True)
class Answered:
    """A sample and its outcome as it came: the very bytes, and what they say."""

    sample: Sample
    raw: bytes

    @property
    def outcome(self) -> dict[str, Any]:
        """The outcome as JSON."""
        return json.loads(self.raw)

    @property
    def problem(self) -> str | None:
        """The problem's name, None for a completed command."""
        error = self.outcome.get("error")
        return error["type"].rsplit("/", 1)[-1] if error else None


class Sender:
    """Sends samples through both doors over one connection."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._js = nc.jetstream(timeout=10)
        self._inbox = nc.new_inbox()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._sent = 0

    async def open(self) -> None:
        """Listen for outcomes of the durable door."""
        await self._nc.subscribe(f"{self._inbox}.*", cb=self._arrived)

    async def all(self, samples: Iterable[Sample]) -> list[Answered]:
        """Send samples one after another, without waiting between them, and return all their answers.

        Raises TimeoutError when one is missing after ANSWER_WITHIN seconds.
        """
        answers: list[asyncio.Task[Answered]] = []
        for sample in samples:
            if sample.door == "durable":
                future = await self._durable(sample)
                answers.append(asyncio.create_task(self._outcome(sample, future)))
            else:
                answers.append(asyncio.create_task(self._answered(sample)))
        return list(await asyncio.gather(*answers))

    async def _durable(self, sample: Sample) -> asyncio.Future[bytes]:
        self._sent += 1
        inbox = f"{self._inbox}.{self._sent}"
        future = self._waiting[inbox] = asyncio.get_running_loop().create_future()
        subject = f"tenants.commands.{sample.tenant_id}.{sample.command}"
        await self._js.publish(subject, sample.payload, headers={**sample.headers, "Reply-To": inbox})
        return future

    async def _outcome(self, sample: Sample, future: asyncio.Future[bytes]) -> Answered:
        return Answered(sample, await asyncio.wait_for(future, ANSWER_WITHIN))

    async def _answered(self, sample: Sample) -> Answered:
        subject = f"tenants.rpc.{sample.tenant_id}.{sample.command}"
        reply = await self._nc.request(subject, sample.payload, timeout=ANSWER_WITHIN, headers=sample.headers)
        return Answered(sample, reply.data)

    async def _arrived(self, message: Msg) -> None:
        future = self._waiting.pop(message.subject, None)
        if future is not None and not future.done():
            future.set_result(message.data)


async def query(nc: Client, tenant: str, name: str, **fields: Any) -> dict[str, Any]:
    """Ask a query and return its answer, or its problem document."""
    body = json.dumps(fields).encode()
    reply = await nc.request(f"tenants.queries.{tenant}.{name}", body, timeout=ANSWER_WITHIN)
    return json.loads(reply.data)
