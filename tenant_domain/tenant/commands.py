"""Commands of a tenant."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tenant_domain.decision import Command
from tenant_domain.values import Email, Metadata, Name, Reason, Settings, Subdomain, UserId


class Admin(BaseModel):
    """The first admin; with a `user_id` a member at once, without it invited."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    email: Email
    name: Name
    user_id: UserId | None = None


class Provision(Command):
    """Make a tenant: its schema, defaults, admin and bucket, driven by a saga."""

    name_: ClassVar[str] = "provision"
    name: Name
    subdomain: Subdomain
    plan: Annotated[str, Field(min_length=1, max_length=63)] = "basic"
    admin: Admin
    region: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    trial_days: Annotated[int, Field(ge=0, le=3650)] | None = None
    metadata: Metadata = {}
    settings: Settings = {}


class UpdateProfile(Command):
    """Change what a tenant is called and carries; at least one field is given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})
    name_: ClassVar[str] = "update_profile"
    name: Name | None = None
    subdomain: Subdomain | None = None
    metadata: Metadata | None = None
    settings: Settings | None = None

    @model_validator(mode="after")
    def _something_is_given(self) -> UpdateProfile:
        if self.name is None and self.subdomain is None and self.metadata is None and self.settings is None:
            raise ValueError("at least one of name, subdomain, metadata, settings must be given")
        return self


class Suspend(Command):
    """Take the tenant out of service."""

    name_: ClassVar[str] = "suspend"
    reason: Reason


class Resume(Command):
    """Put a suspended tenant back into service."""

    name_: ClassVar[str] = "resume"


class Upgrade(Command):
    """Move the tenant to any other plan: now, or at the end of the present period."""

    name_: ClassVar[str] = "upgrade"
    plan: Annotated[str, Field(min_length=1, max_length=63)]
    effective: Literal["now", "period_end"] = "now"


class Terminate(Command):
    """End the tenant: its access at once, its data after `retain_days`; 0 is at once."""

    name_: ClassVar[str] = "terminate"
    confirm_subdomain: Annotated[str, Field(min_length=1, max_length=63)]
    reason: Reason | None = None
    retain_days: Annotated[int, Field(ge=0, le=3650)] = 30


class CancelTermination(Command):
    """Bring a tenant back whose data is not purged yet."""

    name_: ClassVar[str] = "cancel_termination"


class PlaceLegalHold(Command):
    """Forbid that the tenant's data is destroyed, until the hold is released."""

    name_: ClassVar[str] = "place_legal_hold"
    reason: Reason


class ReleaseLegalHold(Command):
    """Let the tenant's data be destroyed again."""

    name_: ClassVar[str] = "release_legal_hold"
