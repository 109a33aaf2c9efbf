"""Load: writers that send commands through both doors and remember what they were promised.

A promise is a PubAck of the durable door, or a completed outcome of the answered one. A call without an
answer is sent again with the same id, as the contract says, until it is answered.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client

TRY_AGAIN = ("unavailable", "rate-limited")


@dataclass
class Promise:
    """A command that the service has promised to apply exactly once."""

    tenant_id: UUID
    command_id: UUID
    command: str
    sequence: int | None = None
    """Its place in TENANT_COMMANDS; None for the answered door."""
    number: int | None = None
    """The tenant's count that it sets, where it is a numbered update."""


@dataclass
class Ledger:
    """What was promised, and how often it took more than one call."""

    promises: list[Promise] = field(default_factory=list[Promise])
    tenants: list[UUID] = field(default_factory=list[UUID])
    repeats: int = 0


class Writer:
    """One client: it provisions tenants, then changes them until it is told to stop.

    Its durable updates are numbered and sent one after another, so they must be applied in that order.
    """

    def __init__(self, nc: Client, ledger: Ledger, rng: random.Random) -> None:
        self._nc = nc
        self._js = nc.jetstream(timeout=2)
        self._ledger = ledger
        self._rng = rng
        self._tenants: list[UUID] = []
        self._numbers: dict[UUID, int] = {}

    async def run(self, stop: asyncio.Event, tenants: int) -> None:
        """Send commands until `stop` is set; what was begun is brought to its answer."""
        while not stop.is_set():
            if len(self._tenants) < tenants:
                await self._provision()
            else:
                await self._rng.choice(
                    (self._durable_update, self._durable_update, self._answered_update, self._toggle)
                )()

    def _uuid(self) -> UUID:
        return UUID(int=self._rng.getrandbits(128), version=4)

    async def _provision(self) -> None:
        tenant_id = self._uuid()
        body = {
            "name": f"Tenant {tenant_id.hex[:6]}",
            "subdomain": f"t-{tenant_id.hex}",
            "admin": {"email": "ada@example.com", "name": "Ada"},
        }
        await self._durable(tenant_id, "provision", body)
        self._tenants.append(tenant_id)
        self._ledger.tenants.append(tenant_id)

    async def _durable_update(self) -> None:
        tenant_id = self._rng.choice(self._tenants)
        number = self._numbers[tenant_id] = self._numbers.get(tenant_id, 0) + 1
        await self._durable(tenant_id, "update_profile", {"settings": {"number": number}}, number)

    async def _answered_update(self) -> None:
        tenant_id = self._rng.choice(self._tenants)
        await self._answered(tenant_id, "update_profile", {"metadata": {"mark": self._uuid().hex}})

    async def _toggle(self) -> None:
        tenant_id = self._rng.choice(self._tenants)
        command, body = self._rng.choice((("suspend", {"reason": "a fault test"}), ("resume", {})))
        await self._answered(tenant_id, command, body)

    async def _durable(
        self, tenant_id: UUID, command: str, body: dict[str, Any], number: int | None = None
    ) -> None:
        command_id = self._uuid()
        headers = {"Command-Id": str(command_id), "Nats-Msg-Id": f"{tenant_id}:{command_id}"}
        while True:
            try:
                ack = await self._js.publish(
                    f"tenants.commands.{tenant_id}.{command}", json.dumps(body).encode(), headers=headers
                )
            except (nats.errors.Error, nats.js.errors.APIError, TimeoutError):
                await self._again()
                continue
            self._ledger.promises.append(Promise(tenant_id, command_id, command, ack.seq, number))
            return

    async def _answered(self, tenant_id: UUID, command: str, body: dict[str, Any]) -> None:
        command_id = self._uuid()
        subject, headers = f"tenants.rpc.{tenant_id}.{command}", {"Command-Id": str(command_id)}
        while True:
            try:
                reply = await self._nc.request(subject, json.dumps(body).encode(), timeout=2, headers=headers)
            except (nats.errors.Error, TimeoutError):
                await self._again()
                continue
            outcome = json.loads(reply.data)
            if outcome["status"] == "completed":
                self._ledger.promises.append(Promise(tenant_id, command_id, command))
                return
            if outcome["error"]["type"].rsplit("/", 1)[-1] not in TRY_AGAIN:
                return
            await self._again()

    async def _again(self) -> None:
        self._ledger.repeats += 1
        await asyncio.sleep(self._rng.uniform(0.05, 0.3))


async def drive(nats_url: str, stop: asyncio.Event, *, writers: int, tenants: int, seed: int) -> Ledger:
    """Run `writers` clients with `tenants` tenants each until `stop`, and return what they were promised."""
    ledger = Ledger()

    async def quiet(_: Exception) -> None:
        """Lost connections are what this is about."""

    nc = await nats.connect(
        nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=quiet, allow_reconnect=True
    )
    try:
        clients = [Writer(nc, ledger, random.Random(f"{seed}-{number}")) for number in range(writers)]
        await asyncio.gather(*(client.run(stop, tenants) for client in clients))
    finally:
        await nc.close()
    return ledger
