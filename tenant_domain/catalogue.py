"""The plan catalogue and the service's policy: what is sold, where, and which names are kept back."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

GIB = 1024**3


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan: what a tenant may use in a month, and what it starts with."""

    name: str
    on_sale: bool = True
    quotas: Mapping[str, int]
    """Limits by resource: `users`, `storage` (bytes), `api_calls` and `compute` (seconds) a month."""
    flags: Mapping[str, bool]
    schema: Mapping[str, int] = MappingProxyType({})
    """Tables that come with the plan into its tenants' schemas, with the versions of their templates."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant has that another plan may not hold."""

    users: int
    storage: int
    """Bytes."""
    schema: Mapping[str, int]
    """The plan's own tables, with the versions of their templates."""
    rows: Mapping[str, int]
    """How many rows each of them holds."""
    own_branding: bool


_SSO = {"sso_connections": 1}
_AUDIT_EXPORT = {"audit_exports": 1}


def _plan(
    name: str,
    users: int,
    storage: int,
    api_calls: int,
    compute: int,
    schema: Mapping[str, int] = MappingProxyType({}),
    **flags: bool,
) -> Plan:
    quotas = {"users": users, "storage": storage, "api_calls": api_calls, "compute": compute}
    return Plan(name=name, quotas=quotas, flags=flags, schema=schema)


PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        plan.name: plan
        for plan in (
            _plan("free", 5, 1 * GIB, 10_000, 3_600, sso=False, audit_export=False, custom_branding=False),
            _plan(
                "basic", 25, 10 * GIB, 100_000, 36_000, sso=False, audit_export=False, custom_branding=True
            ),
            _plan(
                "professional",
                250,
                100 * GIB,
                1_000_000,
                360_000,
                schema=_SSO,
                sso=True,
                audit_export=False,
                custom_branding=True,
            ),
            _plan(
                "enterprise",
                10_000,
                1024 * GIB,
                50_000_000,
                36_000_000,
                schema={**_SSO, **_AUDIT_EXPORT},
                sso=True,
                audit_export=True,
                custom_branding=True,
            ),
        )
    }
)

REGIONS = ("eu-central", "eu-west", "us-east", "us-west", "ap-southeast")
DEFAULT_REGION = "eu-central"

# fmt: off
RESERVED_SUBDOMAINS = frozenset({
    "admin", "api", "app", "auth", "billing", "blog", "console", "dashboard", "docs", "ftp", "help",
    "internal", "login", "mail", "ns1", "ns2", "root", "smtp", "sso", "static", "status", "support",
    "system", "test", "webmail", "www",
})
# fmt: on


class Policy(msgspec.Struct, frozen=True):
    """What the operator of this service allows; settings may narrow or widen it."""

    plans: Mapping[str, Plan] = PLANS
    regions: tuple[str, ...] = REGIONS
    default_region: str = DEFAULT_REGION
    reserved_subdomains: frozenset[str] = RESERVED_SUBDOMAINS
    settings_bytes: int = 64 * 1024
    """Most bytes of a tenant's own settings as JSON: with all else an answer must fit into one message."""


def leaving(plan: Plan, schema: Mapping[str, int]) -> list[str]:
    """Return which of a tenant's own tables `plan` does not have, or has in another version."""
    return [table for table, version in sorted(schema.items()) if plan.schema.get(table) != version]


def shortfalls(plan: Plan, use: Use) -> tuple[str, ...]:
    """Return what `plan` cannot hold of what a tenant has, each as a phrase; nothing when it holds all."""
    limits = (("users", use.users, "users"), ("storage", use.storage, "bytes of storage"))
    over = [
        f"{used} {what} (at most {plan.quotas[resource]})"
        for resource, used, what in limits
        if used > plan.quotas[resource]
    ]
    lost = [f"{use.rows[table]} rows in {table}" for table in leaving(plan, use.schema) if use.rows[table]]
    branding = ["a branding of its own"] if use.own_branding and not plan.flags["custom_branding"] else []
    return (*over, *lost, *branding)


def default_branding(name: str) -> dict[str, str]:
    """Return the branding that a tenant called `name` starts with."""
    return {"display_name": name, "primary_color": "#1f6feb", "theme": "light"}


def is_own_branding(branding: Mapping[str, str]) -> bool:
    """Return whether a branding is more than what every tenant starts with; the name alone is not."""
    return {**branding, "display_name": ""} != default_branding("")
