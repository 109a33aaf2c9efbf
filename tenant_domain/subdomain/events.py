"""Events of a subdomain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tenant_domain.decision import Event, Upcaster


class SubdomainClaimed(Event, frozen=True, kw_only=True):
    """The tenant holds the subdomain from now on."""

    name: ClassVar[str] = "subdomain.claimed"
    subdomain: str
    tenant_id: str


class SubdomainReleased(Event, frozen=True, kw_only=True):
    """The subdomain is free again."""

    name: ClassVar[str] = "subdomain.released"
    subdomain: str
    tenant_id: str


EVENTS = (SubdomainClaimed, SubdomainReleased)
UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}
