"""How a command ends: its exit code, and for an error a sentence that says what to do."""

from __future__ import annotations

import json
import sys
import traceback

from handlers.wire.outcomes import problem
from tenant_domain.refusals import RateLimited, Refusal, StaleRead, Unavailable

DONE, REFUSED, MISUSE, UNAVAILABLE = 0, 1, 2, 3

_ADVICE = {
    "tenant-not-found": "`tenantctl tenants list` shows the ids.",
    "operation-in-progress": "Wait for it, or see `tenantctl operations show`.",
    "version-conflict": "Read it again (`tenantctl tenants show`), and decide anew.",
    "command-id-reused": "Leave out --command-id, or repeat exactly what it was used for.",
    "legal-hold": "`tenantctl tenants legal-hold release` ends the hold.",
    "unavailable": "`tenantctl doctor` shows which part is down.",
    "stale-read": "`tenantctl projections status` shows how far the read models are.",
}


OTHER_TABLES = ("3F000", "42P01", "42703", "42883")
"""A schema, a table, a column, a function that is not there."""


class Misuse(Exception):
    """The command line asks for what makes no sense; the message says what would."""


def explained(error: Exception, *, as_json: bool) -> int:
    """Say on standard error what is wrong and what to do; return the exit code."""
    match error:
        case Refusal():
            _say_refusal(error, as_json)
            return UNAVAILABLE if isinstance(error, Unavailable | RateLimited | StaleRead) else REFUSED
        case Misuse():
            _say("misuse", str(error), as_json)
            return MISUSE
        case _ if _is_outage(error):
            _say("unavailable", f"{_reason(error)}. {_ADVICE['unavailable']}", as_json)
            return UNAVAILABLE
        case _ if "psycopg.Error" in _names(error):
            _say("unavailable", _said_by_database(error), as_json)
            return UNAVAILABLE
        case _:
            traceback.print_exception(error)
            return REFUSED


def logged(error: Exception) -> int:
    """Say it in the log, of a process whose standard error is its log; return the exit code."""
    import structlog

    log = structlog.get_logger()
    match error:
        case Misuse():
            log.error(str(error), problem="misuse")
            return MISUSE
        case _ if isinstance(error, Unavailable) or _is_outage(error):
            log.error(_reason(error), problem="unavailable")
            return UNAVAILABLE
        case _:
            log.critical("ended by an error", exc_info=error)
            return REFUSED


def _say_refusal(refusal: Refusal, as_json: bool) -> None:
    if as_json:
        print(json.dumps(problem(refusal)), file=sys.stderr)
    else:
        advice = _ADVICE.get(refusal.problem, "")
        _say(refusal.problem, f"{refusal.detail} {advice}".strip(), as_json)


def _say(kind: str, sentence: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"type": f"/problems/{kind}", "detail": sentence}), file=sys.stderr)
    else:
        print(f"{kind}: {sentence}", file=sys.stderr)


def _names(error: Exception) -> set[str]:
    """Return the names of an error's kinds, each with its package: no driver is imported to tell them."""
    return {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}


def _said_by_database(error: Exception) -> str:
    """Return a sentence for what PostgreSQL says of a database that is not as the service left it."""
    said = str(error).partition("\n")[0].rstrip(".")
    state: str | None = getattr(error, "sqlstate", None)
    if state in OTHER_TABLES:
        return (
            f"The database has no tables of the service, or those of another version ({said}). Name the"
            " right one in TENANTS_POSTGRES_URL, or start the service: it makes its tables."
        )
    return f"PostgreSQL refuses: {said}. `tenantctl doctor` names rights that are missing."


def _is_outage(error: Exception) -> bool:
    """Return whether a server was not reached."""
    return isinstance(error, OSError | TimeoutError) or bool(
        _names(error)
        & {
            "nats.Error",
            "psycopg.OperationalError",
            "handlers.StoreError",
            "handlers.NotAccepted",
            "handlers.MasterKeyError",
        }
    )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rstrip(".")
