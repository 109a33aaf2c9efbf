"""The commands that run and describe the service."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

app = App(
    name="tenantctl",
    help="Run, ask and operate the tenant service. Start with `tenantctl dev` or `tenantctl demo`.",
    help_epilogue="Exit codes: 0 done, 1 refused, 2 misuse, 3 unavailable.",
)

Role = Literal["commands", "sagas", "projections", "relay", "http"]


@app.command
def serve(
    *, role: list[Role] | None = None, as_json: Annotated[bool, Parameter(name="--json")] = False
) -> int:
    """Run the service on given servers until Ctrl-C or SIGTERM: all roles, or those named.

    Where the servers are, and everything else, is said by settings: see `tenantctl settings`.

    Example: tenantctl serve --role commands --role relay

    Parameters
    ----------
    role
        A role to run; may be given several times. All of them when none is given.
    as_json
        Print one line of JSON when it is ready.
    """
    from handlers import bootstrap, settings

    def ready(facts: dict[str, Any]) -> None:
        print(json.dumps(facts) if as_json else f"Ready: {', '.join(facts['ready'])}.", flush=True)

    bootstrap.run(settings.load(), tuple(role or bootstrap.ROLES), ready)
    return 0


@app.command
def settings(*, as_json: Annotated[bool, Parameter(name="--json")] = False) -> int:
    """List all settings with their defaults, their present values and their reasons; secrets stay hidden."""
    from pydantic import SecretStr
    from rich.console import Console
    from rich.table import Table

    from handlers.settings import Settings, load

    present = load()
    table = Table("variable", "value", "default", "is", box=None)
    for name, field in Settings.model_fields.items():
        values = [getattr(present, name), field.default]
        value, default = ("********" if isinstance(each, SecretStr) else str(each) for each in values)
        if as_json:
            line = {"name": f"TENANTS_{name.upper()}", "value": value, "default": default}
            print(json.dumps({**line, "description": field.description}))
        table.add_row(f"TENANTS_{name.upper()}", value, default, field.description)
    if not as_json:
        Console().print(table)
    return 0


@app.command
def token(
    *, user: str, role: str, tenant: str | None = None, hours: float = 1.0, key_file: Path | None = None
) -> int:
    """Sign a bearer token for development, and print it.

    Example: tenantctl token --user ada --role operator

    Parameters
    ----------
    user
        Who the token speaks for.
    role
        `operator` for everything; any other role is one within the tenant.
    tenant
        The tenant that the token is for.
    hours
        How long it is valid.
    key_file
        The signing key; TENANTS_SIGNING_KEY_FILE, or that of `.data`, when it is not given.
    """
    from handlers.http_edge.tokens import KeyFileError, Signer
    from handlers.settings import load

    present = load()
    path = key_file or present.signing_key_file or Path(".data/keys/signing.pem")
    try:
        signer = Signer.from_file(path, issuer=present.token_issuer, audience=present.token_audience)
        print(signer.sign(user=user, role=role, tenant=tenant, lifetime=hours * 3600))
    except KeyFileError as error:
        print(error, file=sys.stderr)
        return 3
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
