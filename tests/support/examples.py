"""The canonical examples of all messages, by their names."""

from __future__ import annotations

from collections.abc import Mapping

from tenant_domain.decision import Command, Event
from tenant_domain.registry import COMMANDS, ENTITIES
from tenant_domain.tenant.events import ProfileUpdated

EVENT_EXAMPLES: Mapping[str, Event] = {
    event.name: event for each in ENTITIES.values() for event in each.examples
}
"""By stored name."""

FORMER_EXAMPLES: Mapping[tuple[str, int], Event] = {
    (ProfileUpdated.name, 1): ProfileUpdated(
        tenant_name="Acme Insight",
        subdomain="acme-insight",
        metadata={"crm_id": "A-4712"},
        settings={"locale": None, "theme": "dark"},
    )
}
"""What the samples of former versions come to, where that is not today's example."""

COMMAND_EXAMPLES: Mapping[str, Command] = {name: spec.example for name, spec in COMMANDS.items()}
"""By the last token of their subject."""
