"""`tenantctl serve`, `settings` and `token`: the service itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from cyclopts import Parameter

from handlers.cli import output
from handlers.cli.asking import identifier
from handlers.cli.exits import Misuse
from handlers.cli.where import Common
from handlers.cli.where import settings as known_settings

COMMON = Common()
Role = Literal["commands", "sagas", "projections", "relay", "http"]
ROLES: tuple[Role, ...] = ("commands", "sagas", "projections", "relay", "http")

HIDDEN = "********"


async def serve(
    *,
    roles: Annotated[list[Role] | None, Parameter(name="--role", negative="")] = None,
    common: Common = COMMON,
) -> None:
    """Run the service on given servers, all roles in one process or some.

    It ends, cleanly, on SIGTERM or Ctrl-C. With --json it prints one line once it is ready.

    Example: tenantctl serve --role commands --role http

    Parameters
    ----------
    roles
        A role, as often as needed; all by default.
    """
    from handlers import bootstrap

    def ready(addresses: Mapping[str, str]) -> None:
        if common.as_json:
            print(json.dumps(dict(addresses)), flush=True)

    await bootstrap.serve(known_settings(common), tuple(roles or ROLES), ready)


def settings(*, common: Common = COMMON) -> None:
    """List all settings: variable, value, default, meaning.

    Example: TENANTS_ENV_FILE=production.env tenantctl settings

    A setting is an environment variable, or a line of the file that TENANTS_ENV_FILE names.
    """
    from pydantic import SecretStr
    from pydantic_core import PydanticUndefined

    from handlers.settings import Settings

    def shown(value: Any) -> Any:
        match value:
            case SecretStr():
                return HIDDEN
            case tuple():
                return ",".join(map(str, cast(tuple[object, ...], value)))
            case None | bool() | int() | float():
                return value
            case _:
                return str(value)

    chosen = known_settings(common)
    records = [
        {
            "variable": f"TENANTS_{name.upper()}",
            "value": shown(getattr(chosen, name)),
            "default": None if field.default is PydanticUndefined else shown(field.default),
            "set": name in chosen.model_fields_set,
            "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]
    if common.as_json:
        output.lines(records)
    else:
        output.table(records, ("variable", "value", "default", "meaning"))


def token(
    *,
    user: str,
    role: str,
    tenant: str | None = None,
    hours: float = 1.0,
    common: Common = COMMON,
) -> None:
    """Sign a bearer token for the HTTP edge, in development.

    Example: curl -H "Authorization: Bearer $(tenantctl token --user ops --role operator)" $URL

    Parameters
    ----------
    user
        Whom it speaks for.
    role
        operator (reaches every tenant), or in a tenant: owner, admin, member, viewer.
    tenant
        Id of the one tenant that it reaches; not for an operator of the service.
    hours
        How long it holds.
    """
    from handlers.http_edge.tokens import KeyFileError, Signer

    chosen = known_settings(common)
    if chosen.signing_key_file is None:
        raise Misuse("no signing key: set TENANTS_SIGNING_KEY_FILE, or start `tenantctl dev`")
    owner = None if tenant is None else str(identifier(tenant, "a tenant id"))
    try:
        signer = Signer.from_file(
            chosen.signing_key_file,
            create=chosen.create_keys,
            issuer=chosen.token_issuer,
            audience=chosen.token_audience,
        )
        signed = signer.sign(user=user, role=role, tenant=owner, lifetime=hours * 3600)
    except (KeyFileError, ValueError) as error:
        raise Misuse(str(error)) from None
    if common.as_json:
        output.lines(({"token": signed, "user": user, "role": role, "tenant": owner, "hours": hours},))
    else:
        print(signed)
