"""All aggregates, and what follows from them: every command by its name, every event by its stored name."""

from __future__ import annotations

from collections.abc import Mapping

from tenant_domain.aggregate import Aggregate, CommandSpec
from tenant_domain.decision import Event, Upcaster
from tenant_domain.membership.aggregate import AGGREGATE as MEMBER
from tenant_domain.operation.aggregate import AGGREGATE as OPERATION
from tenant_domain.subdomain.aggregate import AGGREGATE as SUBDOMAIN
from tenant_domain.tenant.aggregate import AGGREGATE as TENANT

AGGREGATES: Mapping[str, Aggregate] = {each.name: each for each in (TENANT, OPERATION, SUBDOMAIN, MEMBER)}

EVENTS: Mapping[str, type[Event]] = {cls.name: cls for each in AGGREGATES.values() for cls in each.events}

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {
    key: upcast for each in AGGREGATES.values() for key, upcast in each.upcasters.items()
}

COMMANDS: Mapping[str, CommandSpec] = {
    spec.form.name_: spec for each in AGGREGATES.values() for spec in each.commands
}
