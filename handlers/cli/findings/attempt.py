"""One check of the doctor: whatever it meets becomes a finding."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from handlers.cli import where
from handlers.cli.findings.finding import Finding
from handlers.logs import scrubbed

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
    """Return the finding of a check that could not be made."""
    if isinstance(error, TimeoutError) and not str(error):
        advice = "The server is there and does not answer: look at its log, its locks and its load."
        return Finding(name, "broken", f"no answer within {where.PATIENCE:g} s", advice)
    reason = " ".join(scrubbed(str(error)).split()) or type(error).__name__
    advice = "Look at the server's log; where it has nothing, this is a defect: report it with this line."
    return Finding(name, "broken", f"cannot be looked at: {type(error).__name__}: {reason}", advice)
