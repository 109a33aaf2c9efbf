"""Commands of a membership: internal for now, given by the provisioning of a tenant."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID


class EstablishOwner(NamedTuple):
    """Make the tenant's first admin its owner: at once with a `user_id`, else by an invitation."""

    tenant_id: UUID
    operation_id: UUID
    email: str
    name: str
    user_id: str | None
