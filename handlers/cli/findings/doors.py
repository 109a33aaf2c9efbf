"""The doors of the service: whether commands, queries and HTTP are answered."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from http.client import HTTPException
from uuid import UUID

from nats.aio.client import Client

from handlers.adapters.nats_rights import refusal
from handlers.cli.findings.attempt import failed
from handlers.cli.findings.finding import Finding
from handlers.client import NoAnswer, TenantClient
from tenant_domain.refusals import Refusal, UnknownCommand

QUICK = 2.0
"""Seconds in which a part that is well answers."""

OK, NOT_READY = 200, 503

MOST_READ = 5000
"""Bytes of an answer that are read: whoever listens there may send any number."""

_NOBODY = UUID(int=0)


async def commands(nc: Client, client: TenantClient) -> Finding:
    """Send a command that nobody knows: whoever says so is there."""
    try:
        await client.command(_NOBODY, "none_such", timeout=QUICK)
    except UnknownCommand:
        return Finding("commands", "ok", "answer")
    except (Refusal, NoAnswer) as error:
        return _closed("commands", nc, error, "commands")
    return Finding("commands", "broken", "a stranger answers", "Look for another responder on the subject.")


async def queries(nc: Client, client: TenantClient) -> Finding:
    """Ask for parked operations, which need somebody."""
    try:
        parked = await client.query(None, "operations", status="parked", limit=500, timeout=QUICK)
    except (Refusal, NoAnswer) as error:
        return _closed("queries", nc, error, "projections")
    count = len(parked["items"])
    if not count:
        return Finding("queries", "ok", "answer; no operation is parked")
    found = f"{'at least ' if count == 500 else ''}{count} operations are parked"
    return Finding("queries", "look", found, "`tenantctl operations list --status parked`; retry or undo.")


def _closed(name: str, nc: Client, error: Exception, role: str) -> Finding:
    if refused := refusal(nc):
        return failed(name, refused)
    advice = f"Start `tenantctl serve --role {role}`; where it runs, look at its log and its /health/ready."
    return Finding(name, "broken", str(error), advice)


async def http(url: str) -> Finding:
    """Ask the HTTP edge whether it is ready."""
    try:
        status, body = await asyncio.to_thread(_get, f"{url}/health/ready")
    except (OSError, ValueError, HTTPException) as error:
        advice = "Start `tenantctl serve --role http`, if it is wanted."
        return Finding("http", "look", f"{url}: {error}", advice)
    if status == OK and '"status"' in body:
        return Finding("http", "ok", f"{url}: {body}")
    if status == NOT_READY and (reasons := _reasons(body)):
        advice = "It runs, and is ready by itself once that is mended: see the other findings, and its log."
        return Finding("http", "broken", f"{url} is not ready: {reasons}", advice)
    advice = "Another server answers there: correct TENANTS_HTTP_PORT, or what stands before the service."
    return Finding("http", "look", f"{url}: {status} {body}", advice)


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=QUICK) as answer:  # noqa: S310 - our own edge
            return answer.status, answer.read(MOST_READ).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(MOST_READ).decode(errors="replace")


def _reasons(body: str) -> str:
    """Return why the edge is not ready, by part; nothing where the answer is none of ours."""
    try:
        report = json.loads(body)
        return "; ".join(f"{part}: {reason}" for part, reason in report["reasons"].items())
    except (ValueError, TypeError, KeyError, AttributeError):
        return ""
