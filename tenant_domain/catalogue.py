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


def _plan(name: str, users: int, storage: int, api_calls: int, compute: int, **flags: bool) -> Plan:
    quotas = {"users": users, "storage": storage, "api_calls": api_calls, "compute": compute}
    return Plan(name=name, quotas=quotas, flags=flags)


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


def default_branding(name: str) -> dict[str, str]:
    """Return the branding that a tenant called `name` starts with."""
    return {"display_name": name, "primary_color": "#1f6feb", "theme": "light"}
