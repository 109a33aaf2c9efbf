"""The doors of the service: whether commands, queries and HTTP are answered."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import Any
from uuid import UUID

from handlers.cli.findings.finding import Finding
from handlers.client import NoAnswer, TenantClient
from tenant_domain.refusals import Refusal, UnknownCommand

QUICK = 2.0
"""Seconds in which a part that is well answers."""

_NOBODY = UUID(int=0)


async def commands(client: TenantClient) -> Finding:
    """Send a command that nobody knows: whoever says so is there."""
    try:
        await client.command(_NOBODY, "none_such", timeout=QUICK)
    except UnknownCommand:
        return Finding("commands", "ok", "answer")
    except (Refusal, NoAnswer) as error:
        return Finding("commands", "broken", str(error), "Start `tenantctl serve --role commands`.")
    return Finding("commands", "broken", "a stranger answers", "Look for another responder on the subject.")


async def queries(client: TenantClient) -> Finding:
    """Ask for parked operations, which need somebody."""
    try:
        parked = await client.query(None, "operations", status="parked", limit=500, timeout=QUICK)
    except (Refusal, NoAnswer) as error:
        return Finding("queries", "broken", str(error), "Start `tenantctl serve --role projections`.")
    count = len(parked["items"])
    if not count:
        return Finding("queries", "ok", "answer; no operation is parked")
    found = f"{'at least ' if count == 500 else ''}{count} operations are parked"
    return Finding("queries", "look", found, "`tenantctl operations list --status parked`; retry or undo.")


async def http(url: str) -> Finding:
    """Ask the HTTP edge for its health."""
    try:
        body: Any = await asyncio.to_thread(_get, f"{url}/health")
    except (OSError, ValueError) as error:
        advice = "Start `tenantctl serve --role http`, if it is wanted."
        return Finding("http", "look", f"{url}: {error}", advice)
    return Finding("http", "ok", f"{url}: {body}")


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=QUICK) as answer:  # noqa: S310 - our own edge
            return answer.read(1000).decode()
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(f"{error.code} {error.read(1000).decode()}") from None
