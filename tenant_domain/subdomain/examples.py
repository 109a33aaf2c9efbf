"""One example of each event of a subdomain."""

from __future__ import annotations

from tenant_domain.decision import Event
from tenant_domain.examples import TENANT
from tenant_domain.subdomain.events import (
    SubdomainClaimed,
    SubdomainReleased,
)

EVENTS: tuple[Event, ...] = (
    SubdomainClaimed(subdomain="acme", tenant_id=str(TENANT)),
    SubdomainReleased(subdomain="acme", tenant_id=str(TENANT)),
)
