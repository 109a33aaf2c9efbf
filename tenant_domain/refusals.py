"""Refusals: what the service says when it will not do what was asked.

    Refusal
    ├── InvalidCommand · InvalidQuery · CommandIdReused      422
    ├── UnknownCommand · UnknownQuery · TenantNotFound · NotFound   404
    ├── TenantGone                                           410
    ├── Unauthenticated 401 · Forbidden 403 · QuotaExceeded  403
    ├── SubdomainTaken · TenantExists · InvalidTransition · OperationInProgress · LegalHold   409
    ├── VersionConflict                                      412
    ├── RateLimited                                          429
    └── StaleRead · Unavailable                              503

One refusal is one class, one problem name and one status, the same through every door. A refusal that
`recorded` is by the tenant's state, and is remembered as the outcome of its command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, ClassVar


class Refusal(Exception):
    """A refusal: `detail` is a sentence for a person, `extra` the fields that a program reads."""

    problem: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    recorded: ClassVar[bool] = False

    def __init__(self, detail: str, /, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra: Mapping[str, Any] = extra


class InvalidCommand(Refusal):
    """The body or a header does not fit; `errors` is a list of {"field", "detail"}."""

    problem, status, title = "invalid-command", 422, "The command does not fit its form"

    @classmethod
    def of(cls, field: str, detail: str) -> InvalidCommand:
        """Return the refusal of one field."""
        return cls(f"{field}: {detail}", errors=[{"field": field, "detail": detail}])


class InvalidQuery(Refusal):
    """The query's own fields do not fit; `errors` is a list of {"field", "detail"}."""

    problem, status, title = "invalid-query", 422, "The query does not fit its form"


class CommandIdReused(Refusal):
    """The same command id was used with another command or body."""

    problem, status, title = "command-id-reused", 422, "The command id was used for something else"


class UnknownCommand(Refusal):
    """No command has this name."""

    problem, status, title = "unknown-command", 404, "There is no such command"


class UnknownQuery(Refusal):
    """No query has this name."""

    problem, status, title = "unknown-query", 404, "There is no such query"


class TenantNotFound(Refusal):
    """The tenant never existed."""

    problem, status, title, recorded = "tenant-not-found", 404, "There is no such tenant", True


class NotFound(Refusal):
    """The tenant has no such operation, member, invoice …"""

    problem, status, title, recorded = "not-found", 404, "The tenant has no such thing", True


class TenantGone(Refusal):
    """The tenant was deleted."""

    problem, status, title, recorded = "tenant-gone", 410, "The tenant was deleted", True


class Unauthenticated(Refusal):
    """No valid credential came with the request."""

    problem, status, title = "unauthenticated", 401, "Who asks is not known"


class Forbidden(Refusal):
    """Who asks may not do this."""

    problem, status, title = "forbidden", 403, "Who asks may not do this"


class QuotaExceeded(Refusal):
    """`resource`, `limit` and `used` say which quota and how far."""

    problem, status, title, recorded = "quota-exceeded", 403, "A quota is used up", True


class SubdomainTaken(Refusal):
    """Another tenant holds the subdomain."""

    problem, status, title, recorded = "subdomain-taken", 409, "The subdomain is taken", True


class TenantExists(Refusal):
    """The tenant id is in use, or was used before."""

    problem, status, title, recorded = "tenant-exists", 409, "The tenant exists", True


class InvalidTransition(Refusal):
    """Not from this status: `from` is the status, `command` the command."""

    problem, status, title, recorded = "invalid-transition", 409, "Not possible in this status", True


class OperationInProgress(Refusal):
    """Another saga holds the tenant: `operation_id` names it."""

    problem, status, title, recorded = "operation-in-progress", 409, "An operation holds the tenant", True


class LegalHold(Refusal):
    """A legal hold forbids it."""

    problem, status, title, recorded = "legal-hold", 409, "A legal hold forbids it", True


class VersionConflict(Refusal):
    """The expected version does not fit: `version` is the tenant's."""

    problem, status, title, recorded = "version-conflict", 412, "The tenant is at another version", True


class RateLimited(Refusal):
    """Too much at once: `retry_after` in seconds."""

    problem, status, title = "rate-limited", 429, "Too many requests"


class StaleRead(Refusal):
    """The position asked for was not reached in time: `position` is where the answer would stand."""

    problem, status, title = "stale-read", 503, "The position was not reached in time"


class Unavailable(Refusal):
    """A part is down and nothing was done: `retry_after` in seconds."""

    problem, status, title = "unavailable", 503, "A part of the service is down"


_TOLD = 100
"""Characters that are told of a name that nobody knows."""


def not_known(what: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence that there is no `what` of this name, with the nearest of those that are known."""
    near = get_close_matches(name, known, 1) if len(name) < _TOLD else []
    return f"There is no {what} {name[:_TOLD]!r}" + (f"; did you mean {near[0]}?" if near else ".")


REFUSALS: Mapping[str, type[Refusal]] = {cls.problem: cls for cls in Refusal.__subclasses__()}
