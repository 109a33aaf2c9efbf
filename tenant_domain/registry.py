"""The one table from message to handler: every command, every entity, every event by its stored name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from tenant_domain import rerun
from tenant_domain.authorisation import HEADS, OPERATORS, OWNERS, WRITERS, Access
from tenant_domain.decision import Command, Context, Decision, Event, Ref, Upcaster, World
from tenant_domain.membership import events as membership_events
from tenant_domain.membership import state as membership_state
from tenant_domain.operation import commands as operation_commands
from tenant_domain.operation import decide as operation
from tenant_domain.operation import events as operation_events
from tenant_domain.operation import state as operation_state
from tenant_domain.subdomain import events as subdomain_events
from tenant_domain.subdomain import state as subdomain_state
from tenant_domain.tenant import commands as tenant_commands
from tenant_domain.tenant import decide as tenant
from tenant_domain.tenant import events as tenant_events
from tenant_domain.tenant import state as tenant_state


class Entity(NamedTuple):
    """An aggregate: its state's type, how an event changes it, its events and their upcasters.

    `upcasters` maps (stored name, from version) to the function that leads to the next version.
    """

    state: type[Any]
    evolve: Callable[[Any, Event], Any]
    events: tuple[type[Event], ...]
    upcasters: Mapping[tuple[str, int], Upcaster]


def _never(_command: Any) -> bool:
    return False


def _always(_command: Any) -> bool:
    return True


def _changes_personal_fields(command: tenant_commands.UpdateProfile) -> bool:
    return command.metadata is not None or command.settings is not None


class CommandSpec(NamedTuple):
    """A command: its form, who may ask for it, the decision, and the streams it reads besides the tenant's.

    `streams` is called with the tenant's state, as far as it is known. `personal` says whether the command
    has to do with personal fields: its facts have them sealed, its decision sees those of the tenant opened.
    """

    form: type[Command]
    access: Access
    decide: Callable[[Any, World, Context], Decision]
    streams: Callable[[UUID, Any, Any], Iterable[Ref]]
    personal: Callable[[Any], bool] = _never


def _operation_stream(_tenant_id: UUID, command: Any, _tenant: Any) -> Iterable[Ref]:
    yield operation.ref(command.operation_id)


def _no_streams(_tenant_id: UUID, _command: Any, _tenant: Any) -> Iterable[Ref]:
    return ()


ENTITIES: Mapping[str, Entity] = {
    "tenant": Entity(tenant_state.Tenant, tenant_state.evolve, tenant_events.EVENTS, tenant_events.UPCASTERS),
    "operation": Entity(
        operation_state.Operation, operation_state.evolve, operation_events.EVENTS, operation_events.UPCASTERS
    ),
    "subdomain": Entity(
        subdomain_state.SubdomainClaim,
        subdomain_state.evolve,
        subdomain_events.EVENTS,
        subdomain_events.UPCASTERS,
    ),
    "member": Entity(
        membership_state.Membership,
        membership_state.evolve,
        membership_events.EVENTS,
        membership_events.UPCASTERS,
    ),
}

EVENTS: Mapping[str, type[Event]] = {cls.name: cls for entity in ENTITIES.values() for cls in entity.events}

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {
    key: upcast for entity in ENTITIES.values() for key, upcast in entity.upcasters.items()
}

_OPERATORS_ONLY = Access(OPERATORS)

COMMANDS: Mapping[str, CommandSpec] = {
    spec.form.name_: spec
    for spec in (
        CommandSpec(
            tenant_commands.Provision, _OPERATORS_ONLY, tenant.provision, tenant.provision_streams, _always
        ),
        CommandSpec(
            tenant_commands.UpdateProfile,
            Access(WRITERS),
            tenant.update_profile,
            tenant.update_profile_streams,
            _changes_personal_fields,
        ),
        CommandSpec(tenant_commands.Suspend, Access(HEADS, HEADS), tenant.suspend, _no_streams, _always),
        CommandSpec(tenant_commands.Resume, Access(HEADS, HEADS), tenant.resume, _no_streams, _always),
        CommandSpec(tenant_commands.Upgrade, Access(OWNERS), tenant.upgrade, _no_streams),
        CommandSpec(
            tenant_commands.Terminate,
            Access(OWNERS, OWNERS, fields=(("retain_days", OPERATORS),)),
            tenant.terminate,
            tenant.held_run_streams,
            _always,
        ),
        CommandSpec(
            tenant_commands.CancelTermination,
            Access(OWNERS, OWNERS),
            tenant.cancel_termination,
            tenant.held_run_streams,
            _always,
        ),
        CommandSpec(
            tenant_commands.PlaceLegalHold,
            _OPERATORS_ONLY,
            tenant.place_legal_hold,
            tenant.held_run_streams,
            _always,
        ),
        CommandSpec(
            tenant_commands.ReleaseLegalHold,
            _OPERATORS_ONLY,
            tenant.release_legal_hold,
            tenant.held_run_streams,
        ),
        CommandSpec(operation_commands.RetryOperation, _OPERATORS_ONLY, operation.retry, _operation_stream),
        CommandSpec(operation_commands.CancelOperation, _OPERATORS_ONLY, operation.cancel, _operation_stream),
        CommandSpec(
            operation_commands.CompensateOperation, _OPERATORS_ONLY, operation.compensate, _operation_stream
        ),
        CommandSpec(operation_commands.RerunOperation, _OPERATORS_ONLY, rerun.rerun, rerun.rerun_streams),
    )
}
