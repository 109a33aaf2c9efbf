"""The live context after a round: what it says of every tenant."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from uuid import UUID

import nats
from nats.js.kv import KeyValue

PATIENCE = 10.0
"""Seconds in which the last entries must be there, once all else has come to rest."""


async def differing(nats_url: str, statuses: Mapping[UUID, str]) -> list[str]:
    """Return where the bucket says another status than the log, as sentences."""
    nc = await nats.connect(nats_url)
    try:
        bucket = await nc.jetstream(timeout=10).key_value("TENANT_CONTEXT")
        wanted = {str(tenant_id): status for tenant_id, status in statuses.items()}
        end = asyncio.get_running_loop().time() + PATIENCE
        while (said := await _said(bucket)) != wanted and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    finally:
        await nc.close()
    return [
        f"the live context says {said.get(key)!r} of {key}, the log {wanted.get(key)!r}"
        for key in said.keys() | wanted.keys()
        if said.get(key) != wanted.get(key)
    ][:20]


async def _said(bucket: KeyValue) -> dict[str, str]:
    watcher = await bucket.watchall()
    said: dict[str, str] = {}
    async for entry in watcher:
        if entry is None:
            break
        said[entry.key] = json.loads(entry.value or b"{}").get("status", "nothing")
    await watcher.stop()
    return said
