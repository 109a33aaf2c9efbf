"""The aggregate `tenant`: its commands, with who may ask for each, and its events."""

from __future__ import annotations

from tenant_domain.aggregate import Aggregate, CommandSpec, always
from tenant_domain.authorisation import HEADS, OPERATORS, OWNERS, WRITERS, Access
from tenant_domain.examples import OPERATION
from tenant_domain.operation.commands import (
    CancelOperation,
    CompensateOperation,
    RerunOperation,
    RetryOperation,
)
from tenant_domain.tenant import decide, examples
from tenant_domain.tenant.commands import (
    Admin,
    CancelTermination,
    PlaceLegalHold,
    Provision,
    ReleaseLegalHold,
    Resume,
    Suspend,
    Terminate,
    UpdateProfile,
    Upgrade,
)
from tenant_domain.tenant.events import EVENTS, UPCASTERS
from tenant_domain.tenant.state import Tenant, evolve

_OPERATORS_ONLY = Access(OPERATORS)


def _changes_personal_fields(command: UpdateProfile) -> bool:
    return command.metadata is not None or command.settings is not None


AGGREGATE = Aggregate(
    "tenant",
    Tenant,
    evolve,
    events=EVENTS,
    examples=examples.EVENTS,
    upcasters=UPCASTERS,
    commands=(
        CommandSpec(
            Provision,
            Provision(
                name="Acme Analytics",
                subdomain="acme",
                plan="professional",
                admin=Admin(email="ada@acme.example", name="Ada Lovelace", user_id="auth0|ada"),
                region="eu-central",
                trial_days=30,
                metadata={"crm_id": "A-4711"},
                settings={"locale": "en-GB", "mfa": {"required": True}},
            ),
            _OPERATORS_ONLY,
            decide.provision,
            decide.provision_streams,
            always,
        ),
        CommandSpec(
            UpdateProfile,
            UpdateProfile(
                name="Acme Insight",
                subdomain="acme-insight",
                metadata={"crm_id": "A-4712"},
                settings={"locale": None, "theme": "dark"},
            ),
            Access(WRITERS),
            decide.update_profile,
            decide.update_profile_streams,
            _changes_personal_fields,
        ),
        CommandSpec(
            Suspend,
            Suspend(reason="Invoice 2026-10 is unpaid."),
            Access(HEADS, HEADS),
            decide.suspend,
            personal=always,
        ),
        CommandSpec(Resume, Resume(), Access(HEADS, HEADS), decide.resume, personal=always),
        CommandSpec(
            Upgrade, Upgrade(plan="enterprise", effective="period_end"), Access(OWNERS), decide.upgrade
        ),
        CommandSpec(
            Terminate,
            Terminate(confirm_subdomain="acme", reason="The contract has ended.", retain_days=30),
            Access(OWNERS, OWNERS, fields=(("retain_days", OPERATORS),)),
            decide.terminate,
            decide.held_run_streams,
            always,
        ),
        CommandSpec(
            CancelTermination,
            CancelTermination(),
            Access(OWNERS, OWNERS),
            decide.cancel_termination,
            decide.held_run_streams,
            always,
        ),
        CommandSpec(
            PlaceLegalHold,
            PlaceLegalHold(reason="Case 2026/117 is open."),
            _OPERATORS_ONLY,
            decide.place_legal_hold,
            decide.held_run_streams,
            always,
        ),
        CommandSpec(
            ReleaseLegalHold,
            ReleaseLegalHold(),
            _OPERATORS_ONLY,
            decide.release_legal_hold,
            decide.held_run_streams,
        ),
        CommandSpec(
            RetryOperation,
            RetryOperation(operation_id=OPERATION),
            _OPERATORS_ONLY,
            decide.retry_operation,
            decide.run_streams,
        ),
        CommandSpec(
            CancelOperation,
            CancelOperation(operation_id=OPERATION),
            _OPERATORS_ONLY,
            decide.cancel_operation,
            decide.run_streams,
        ),
        CommandSpec(
            CompensateOperation,
            CompensateOperation(operation_id=OPERATION),
            _OPERATORS_ONLY,
            decide.compensate_operation,
            decide.run_streams,
        ),
        CommandSpec(
            RerunOperation,
            RerunOperation(operation_id=OPERATION, from_step="notify"),
            _OPERATORS_ONLY,
            decide.rerun_operation,
            decide.rerun_streams,
        ),
    ),
)
