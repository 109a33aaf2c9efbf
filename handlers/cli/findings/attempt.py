"""One check of the doctor: whatever it meets becomes a finding."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import psycopg

from handlers.adapters.nats_rights import NotPermitted
from handlers.cli import where
from handlers.cli.exits import OTHER_TABLES
from handlers.cli.findings.finding import Finding
from handlers.logs import scrubbed

ALLOW = (
    "Let this user publish and subscribe to `<TENANTS_SUBJECT_PREFIX>.>`, `$JS.>`, `$KV.>`, `$SRV.>` and"
    " `_INBOX.>`, or name another user in TENANTS_NATS_URL."
)
GRANT = "Do what the findings `right …` say, or name the owner of the schema service in TENANTS_POSTGRES_URL."
MIGRATE = (
    "The tables are not those of this version: start the service of this version, which brings them up to"
    " date, or name the right database in TENANTS_POSTGRES_URL."
)
DEFECT = "Look at the server's log; where it has nothing, this is a defect: report it with this line."

Check = Callable[[], Awaitable[Finding | Iterable[Finding]]]


async def attempt(name: str, check: Check) -> list[Finding]:
    """Return what the check finds, or a finding with its name that says how it failed."""
    try:
        async with asyncio.timeout(where.PATIENCE):
            found = await check()
    except Exception as error:  # noqa: BLE001 - in whatever state servers are, the doctor says it
        return [failed(name, error)]
    return [found] if isinstance(found, Finding) else list(found)


def failed(name: str, error: Exception) -> Finding:
    """Return the finding of a check that could not be made, with what helps against that cause."""
    reason = " ".join(scrubbed(str(error)).split()) or type(error).__name__
    match error:
        case NotPermitted():
            return Finding(name, "broken", reason, ALLOW)
        case TimeoutError():
            advice = "The server is there and does not answer: look at its log, its locks and its load."
            return Finding(name, "broken", "no answer in time", advice)
        case psycopg.errors.InsufficientPrivilege():
            return Finding(name, "broken", reason, GRANT)
        case psycopg.Error() if error.sqlstate in OTHER_TABLES:
            return Finding(name, "broken", reason, MIGRATE)
        case _:
            found = f"cannot be looked at: {type(error).__name__}: {reason}"
            return Finding(name, "broken", found, DEFECT)
