"""Commands of a subdomain: internal, given by the tenant's own commands."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID


class Claim(NamedTuple):
    """Hold `subdomain` for `tenant_id`."""

    subdomain: str
    tenant_id: UUID


class Release(NamedTuple):
    """Let go of `subdomain`, which `tenant_id` holds."""

    subdomain: str
    tenant_id: UUID
