"""`tenantctl serve`, `settings` and `token`: the service itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from cyclopts import Parameter

from handlers.cli import output
from handlers.cli.exits import DONE, Misuse, logged
from handlers.cli.where import Common, given_settings
from handlers.cli.where import settings as known_settings
from tenant_domain.refusals import Unavailable

COMMON = Common()
Role = Literal["commands", "sagas", "projections", "relay", "http"]

HIDDEN = "********"


def serve(
    *,
    roles: Annotated[list[Role] | None, Parameter(name="--role", negative="")] = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> int:
    """Run the service on given servers until Ctrl-C or SIGTERM: all roles, or those named.

    Where the servers are, and everything else, is said by settings alone: see `tenantctl settings`.

    Example: tenantctl serve --role commands --role relay

    Parameters
    ----------
    roles
        A role to run, as often as needed; all of them by default.
    as_json
        Print one line of JSON once it is ready.
    """
    from handlers import logs

    logs.configure("info", role=",".join(roles or ()))  # until the settings say more
    logs.hear_python()
    try:
        _serve(tuple(roles or ()), as_json=as_json)
    except Exception as error:
        if logs.form_here() == "console":
            raise
        return logged(error)
    return DONE


def _serve(roles: tuple[Role, ...], *, as_json: bool) -> None:
    chosen = given_settings()  # before all that takes its time

    from handlers import bootstrap
    from handlers.adapters.key_files import KeyFileError
    from handlers.adapters.keys import MasterKeyError
    from handlers.bus.marks import ForeignStreams
    from handlers.bus.streams import StreamWeakened, Unsupported
    from handlers.http_edge.server import PortTaken
    from handlers.store.migrate import SchemaTooNew
    from handlers.store.rights import RightsMissing

    def ready(facts: dict[str, Any]) -> None:
        print(json.dumps(facts) if as_json else f"Ready: {', '.join(facts['ready'])}.", flush=True)

    try:
        bootstrap.run(chosen, roles or bootstrap.ROLES, ready)
    except (
        ForeignStreams,
        KeyFileError,
        MasterKeyError,
        RightsMissing,
        SchemaTooNew,
        StreamWeakened,
        Unsupported,
    ) as error:
        raise Misuse(str(error)) from error
    except (PortTaken, bootstrap.EngineFailed) as error:
        raise Unavailable(str(error)) from error


def settings(*, common: Common = COMMON) -> None:
    """List all settings: variable, value, default, unit, meaning.

    Example: TENANTS_ENV_FILE=production.env tenantctl settings

    A setting is an environment variable, or a line of the file that TENANTS_ENV_FILE names. A variable with
    our prefix that is no setting is told of, with the setting that it may have meant.
    """
    from pydantic import SecretStr
    from pydantic_core import PydanticUndefined

    from handlers.settings import Settings, unit, unknown

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

    chosen = given_settings()
    for each in unknown():
        print(each.sentence(), file=sys.stderr)
    records = [
        {
            "variable": f"TENANTS_{name.upper()}",
            "value": shown(getattr(chosen, name)),
            "default": None if field.default is PydanticUndefined else shown(field.default),
            "unit": unit(name),
            "set": name in chosen.model_fields_set,
            "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]
    if common.as_json:
        output.lines(records)
    else:
        output.table(records, ("variable", "value", "default", "unit", "meaning"))


def token(
    *,
    user: str,
    role: str,
    tenant: UUID | None = None,
    hours: float = 1.0,
    key_file: Path | None = None,
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
    key_file
        The signing key; that of TENANTS_SIGNING_KEY_FILE, or of `tenantctl dev`, by default.
    """
    from handlers.adapters.key_files import KeyFileError
    from handlers.http_edge.tokens import HOUR, Signer, require_use

    chosen = known_settings(common)
    path = key_file or chosen.signing_key_file
    if path is None:
        raise Misuse("no signing key: set TENANTS_SIGNING_KEY_FILE, or start `tenantctl dev`")
    owner = None if tenant is None else str(tenant)
    try:
        require_use(user, role, owner, hours * HOUR)
        signer = Signer.from_file(
            path,
            create=chosen.create_keys,
            issuer=chosen.token_issuer,
            audience=chosen.token_audience,
        )
        signed = signer.sign(user=user, role=role, tenant=owner, lifetime=hours * HOUR)
    except (KeyFileError, ValueError) as error:
        raise Misuse(str(error)) from None
    if common.as_json:
        output.lines(({"token": signed, "user": user, "role": role, "tenant": owner, "hours": hours},))
    else:
        print(signed)
