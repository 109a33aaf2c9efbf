"""What a tenant has on the bus: durable consumers of its events alone, and its live context."""

from __future__ import annotations

from uuid import UUID

import msgspec
from nats.aio.client import Client

from handlers.adapters.jetstream import (
    CONSUMER_NOT_FOUND,
    STREAM_NOT_FOUND,
    JetStreamError,
    Json,
    call,
    last_message,
)
from handlers.wire.subjects import Streams, Subjects

_GONE = (CONSUMER_NOT_FOUND, STREAM_NOT_FOUND)


class TenantConsumers:
    """Consumers and keys of tenants, to be removed with them."""

    def __init__(self, nc: Client, subjects: Subjects, streams: Streams) -> None:
        self._nc, self._subjects, self._streams = nc, subjects, streams

    async def of(self, tenant_id: UUID) -> list[str]:
        """Return the durable consumers that read only this tenant's events.

        Others end by themselves once nobody reads, and may yet tell their reader of the tenant's end.
        """
        return [each["name"] for each in await self._all() if self._is_of(each["config"], tenant_id)]

    async def remove(self, tenant_id: UUID) -> int:
        """Delete those; returns how many there were."""
        names = await self.of(tenant_id)
        for name in names:
            await _unless_gone(self._nc, f"CONSUMER.DELETE.{self._streams.events}.{name}")
        return len(names)

    async def clear_context(self, tenant_id: UUID) -> int:
        """Purge the tenant's keys from the live context; returns how many entries that removed."""
        request, purged = f"STREAM.PURGE.{self._streams.context_stream}", 0
        for subject in self._context_of(tenant_id):
            purged += (await _unless_gone(self._nc, request, {"filter": subject})).get("purged", 0)
        return purged

    async def has_context(self, tenant_id: UUID) -> bool:
        """Return whether the live context says more of the tenant than that it is going, or gone.

        That much the relay goes on to say.
        """
        own, members = self._context_of(tenant_id)
        stream = self._streams.context_stream
        if await last_message(self._nc, stream, members) is not None:
            return True
        entry = await last_message(self._nc, stream, own)
        return entry is not None and "plan" in msgspec.json.decode(entry.body or b"{}")

    def _context_of(self, tenant_id: UUID) -> tuple[str, str]:
        """Return the subjects of the tenant's own key, and of those of its members."""
        subject = self._streams.context_subject
        return subject(str(tenant_id)), subject(f"{tenant_id}.>")

    async def _all(self) -> list[Json]:
        found: list[Json] = []
        while True:
            request = f"CONSUMER.LIST.{self._streams.events}"
            page = await _unless_gone(self._nc, request, {"offset": len(found)})
            found += page.get("consumers") or []
            if len(found) >= page.get("total", 0) or not page.get("consumers"):
                return found

    def _is_of(self, config: Json, tenant_id: UUID) -> bool:
        filters = config.get("filter_subjects") or [config.get("filter_subject", "")]
        own = self._subjects.event(tenant_id, "")
        return bool(config.get("durable_name")) and all(each.startswith(own) for each in filters)


async def _unless_gone(nc: Client, request: str, body: Json | None = None) -> Json:
    try:
        return await call(nc, request, body)
    except JetStreamError as error:
        if error.code in _GONE:
            return {}
        raise
