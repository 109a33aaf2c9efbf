"""NATS service discovery (`$SRV.PING|INFO|STATS`, micro protocol 1), answered by hand.

nats-py's own services subscribe each endpoint by itself; ours stand behind one wildcard for each door.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from handlers.bus.connection import flush
from handlers.bus.endpoints import Endpoint
from handlers.wire.subjects import is_inbox

log = structlog.get_logger()

_PREFIX = "$SRV"
_encode = msgspec.json.Encoder().encode


class Discovery:
    """Tells whoever asks about this process and its endpoints.

    `service_id` names the process among others of the service; `name` has letters, digits, `-`, `_`;
    `version` is a semantic version.
    """

    def __init__(
        self,
        nc: Client,
        endpoints: Sequence[Endpoint],
        *,
        service_id: str,
        version: str,
        name: str = "tenants",
        description: str = "Owns the life of every tenant.",
    ) -> None:
        self._nc = nc
        self._endpoints = endpoints
        self._identity = {"name": name, "id": service_id, "version": version, "metadata": dict[str, str]()}
        self._description = description
        self._subjects = (f"{_PREFIX}.*", f"{_PREFIX}.*.{name}", f"{_PREFIX}.*.{name}.{service_id}")
        self._subscriptions: list[Subscription] = []
        self._started = ""

    async def start(self) -> None:
        """Answer from now on."""
        self._started = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for subject in self._subjects:
            self._subscriptions.append(await self._nc.subscribe(subject, cb=self._asked))
        await flush(self._nc)

    async def stop(self) -> None:
        """Answer no more."""
        if not self._nc.is_closed:
            for subscription in self._subscriptions:
                await subscription.unsubscribe()
        self._subscriptions.clear()

    async def _asked(self, msg: Msg) -> None:
        if not is_inbox(msg.reply):
            return
        answer = self._answer(msg.subject.split(".")[1])
        if answer is not None:
            await self._nc.publish(msg.reply, _encode(answer))

    def _answer(self, verb: str) -> dict[str, Any] | None:
        match verb:
            case "PING":
                more: dict[str, Any] = {}
            case "INFO":
                endpoints = [endpoint.info() for endpoint in self._endpoints]
                more = {"description": self._description, "endpoints": endpoints}
            case "STATS":
                more = {"started": self._started, "endpoints": [each.stats() for each in self._endpoints]}
            case _:
                return None
        return {"type": f"io.nats.micro.v1.{verb.lower()}_response", **self._identity, **more}
