"""All aggregates, and what follows from them: every command by its name, every event by its stored name."""

from __future__ import annotations

from collections.abc import Mapping

from tenant_domain.aggregate import Aggregate, CommandSpec
from tenant_domain.decision import Event, Upcaster
from tenant_domain.membership.aggregate import AGGREGATE as MEMBER
from tenant_domain.operation.aggregate import AGGREGATE as OPERATION
from tenant_domain.subdomain.aggregate import AGGREGATE as SUBDOMAIN
from tenant_domain.tenant.aggregate import AGGREGATE as TENANT

ENTITIES: Mapping[str, Aggregate] = {
    TENANT.name: TENANT,
    OPERATION.name: OPERATION,
    SUBDOMAIN.name: SUBDOMAIN,
    MEMBER.name: MEMBER,
}

EVENTS: Mapping[str, type[Event]] = {cls.name: cls for entity in ENTITIES.values() for cls in entity.events}

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {
    key: upcast for entity in ENTITIES.values() for key, upcast in entity.upcasters.items()
}

COMMANDS: Mapping[str, CommandSpec] = {
    spec.form.name_: spec for entity in ENTITIES.values() for spec in entity.commands
}
