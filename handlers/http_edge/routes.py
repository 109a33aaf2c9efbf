"""The table of routes: which command or query each stands for; app and document are made from it."""

from __future__ import annotations

from typing import Literal, NamedTuple

API = "/api/v1/tenants"
TENANT = f"{API}/{{tenant_id:str}}"

Method = Literal["GET", "POST", "PUT", "DELETE"]


class Route(NamedTuple):
    """One route of a tenant. `name` is its command or query; None where the path says it.

    What else the path names (`operation_id`) becomes a field of the query. `summary` is for the document.
    """

    method: Method
    path: str
    kind: Literal["command", "query"]
    name: str | None
    summary: str


ROUTES: tuple[Route, ...] = (
    Route("GET", TENANT, "query", "tenant", "One tenant"),
    Route("PUT", TENANT, "command", "update_profile", "Change what a tenant is called and carries"),
    Route("DELETE", TENANT, "command", "terminate", "End a tenant"),
    Route("PUT", f"{TENANT}/upgrade", "command", "upgrade", "Move a tenant to another plan"),
    Route("POST", f"{TENANT}/suspend", "command", "suspend", "Take a tenant out of service"),
    Route("POST", f"{TENANT}/resume", "command", "resume", "Put a suspended tenant back into service"),
    Route("POST", f"{TENANT}/switch", "command", "switch_context", "Switch a user to this tenant"),
    Route("POST", f"{TENANT}/commands/{{command_name:str}}", "command", None, "Any command, by its name"),
    Route("GET", f"{TENANT}/users", "query", "members", "The members of a tenant"),
    Route("GET", f"{TENANT}/usage", "query", "usage", "What a tenant used, and its limits"),
    Route("GET", f"{TENANT}/operations", "query", "operations", "The operations of a tenant"),
    Route(
        "GET",
        f"{TENANT}/operations/{{operation_id:str}}",
        "query",
        "operation",
        "One operation, with its steps",
    ),
    Route("GET", f"{TENANT}/history", "query", "history", "All facts about a tenant, oldest first"),
    Route("GET", f"{TENANT}/as-of", "query", "as_of", "A tenant as it was"),
    Route(
        "GET", f"{TENANT}/export", "query", "export", "The export of a tenant's data, before it is deleted"
    ),
    Route("GET", f"{TENANT}/certificate", "query", "certificate", "The certificate of a tenant's deletion"),
    Route("GET", f"{TENANT}/queries/{{query_name:str}}", "query", None, "Any query, by its name"),
)

EXPORT_PART = f"{TENANT}/export/{{part:path}}"
"""A part of a tenant's export, as its manifest names it; the manifest itself is `manifest.json`."""

_PARTS = b"/export/"

FLEET_QUERIES = {"subdomain": "by_subdomain", "user_id": "memberships"}
"""`GET /api/v1/tenants` with this parameter is another query over all tenants than `tenants`."""

OPEN = frozenset(
    (
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/openapi.json",
        "/asyncapi.json",
        "/.well-known/jwks.json",
    )
)
"""Paths that answer without a token; `/problems/{name}` does too."""

PROBLEM_PAGES = "/problems/"


def is_open(path: str) -> bool:
    """Return whether anybody may read `path`."""
    return path in OPEN or path.startswith(PROBLEM_PAGES)


def hides_a_slash(raw_path: bytes) -> bool:
    """Return whether a path, as it was sent, has an encoded slash where it would reach another route.

    A gateway before the service judges by another path then. A part of an export may be sent so.
    """
    return b"%2f" in raw_path.partition(_PARTS)[0].lower()


def location(tenant_id: str, operation_id: str) -> str:
    """Return where an operation is found."""
    return f"{API}/{tenant_id}/operations/{operation_id}"
