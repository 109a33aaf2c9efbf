"""`tenantctl doctor`: looks after everything, and says what to do."""

from __future__ import annotations

from handlers.cli import output
from handlers.cli.exits import DONE, REFUSED, UNAVAILABLE
from handlers.cli.where import Common

COMMON = Common()
COLUMNS = ("what", "state", "found", "advice")


async def doctor(*, common: Common = COMMON) -> int:
    """Look after servers, streams, lags, stuck runs and settings, and say what to do.

    Exit code 0 when nothing is broken, 1 when something is, 3 when NATS or PostgreSQL is not there.

    Example: tenantctl doctor
    """
    from handlers.cli.checks import examined

    findings = [finding._asdict() async for finding in examined(common)]
    if common.as_json:
        output.lines(findings)
    else:
        output.table(findings, COLUMNS)
    broken = {finding["what"] for finding in findings if finding["state"] == "broken"}
    if broken & {"nats", "postgres"}:
        return UNAVAILABLE
    return REFUSED if broken else DONE
