"""`tenantctl tenants terminate`, `cancel-termination`, `legal-hold` and `export`: the end of a tenant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from handlers.cli import output
from handlers.cli.asking import commanded, tenant_of
from handlers.cli.exits import Misuse
from handlers.cli.where import Asking, Common, connected, http_url, settings

if TYPE_CHECKING:
    from handlers.cli.fetching import Fetched

COMMON, ASKING = Common(), Asking()

legal_hold = App(name="legal-hold", help="Legal holds: they forbid that a tenant's data is destroyed.")


async def terminate(
    tenant: str,
    *,
    confirm_subdomain: str,
    reason: str | None = None,
    retain_days: int | None = None,
    asking: Asking = ASKING,
) -> int:
    """End a tenant: its access at once, its data after some days.

    Until its data goes, cancel-termination brings all of it back. With --wait it waits for the end of it all,
    which is days away unless --retain-days is 0.

    Example: tenantctl tenants terminate acme --confirm-subdomain acme --reason "Contract ended"

    Parameters
    ----------
    tenant
        Its id or subdomain.
    confirm_subdomain
        Its subdomain once more: this ends all that the tenant has.
    reason
        Why; stands in its history.
    retain_days
        Days until its data is destroyed; 30 by default, 0 is at once.
    """
    fields = {"confirm_subdomain": confirm_subdomain, "reason": reason, "retain_days": retain_days}
    return await commanded(tenant, "terminate", fields, asking)


async def cancel_termination(tenant: str, *, asking: Asking = ASKING) -> int:
    """Bring back a tenant whose data is not destroyed yet.

    Example: tenantctl tenants cancel-termination acme --wait

    Parameters
    ----------
    tenant
        Its id or subdomain.
    """
    return await commanded(tenant, "cancel_termination", {}, asking, wanted="cancelled")


@legal_hold.command
async def place(tenant: str, *, reason: str, asking: Asking = ASKING) -> int:
    """Forbid that a tenant's data is destroyed; a termination stops where it is.

    Example: tenantctl tenants legal-hold place acme --reason "Case 26-114"

    Parameters
    ----------
    tenant
        Its id or subdomain.
    reason
        Why; stands in its history.
    """
    return await commanded(tenant, "place_legal_hold", {"reason": reason}, asking)


@legal_hold.command
async def release(tenant: str, *, asking: Asking = ASKING) -> int:
    """Let a tenant's data be destroyed again; a termination that stopped goes on.

    Example: tenantctl tenants legal-hold release acme

    Parameters
    ----------
    tenant
        Its id or subdomain.
    """
    return await commanded(tenant, "release_legal_hold", {}, asking)


async def export(
    tenant: str,
    *,
    to: Path,
    http: str | None = None,
    token: str | None = None,
    common: Common = COMMON,
) -> int:
    """Fetch all data of a tenant that is about to be deleted, and check it.

    What is in the folder already, and as it should be, is not fetched again.

    Example: tenantctl tenants export acme --to acme-export

    Parameters
    ----------
    tenant
        Its id or subdomain.
    to
        The folder to write to.
    http
        Where the HTTP edge is; that of the running `tenantctl dev` by default.
    token
        A bearer token of an operator, or of an owner or admin of the tenant; signed here in development.
    """
    from handlers.cli.fetching import fetch

    base = http or http_url(common)
    if base is None:
        raise Misuse("say where the HTTP edge is with --http, or start `tenantctl dev`")
    if not base.startswith(("http://", "https://")):
        raise Misuse(f"--http must be a URL such as http://127.0.0.1:8085, not {base!r}")
    async with connected(common) as client:
        tenant_id = await tenant_of(client, tenant)
    fetched = await fetch(base, token or _operators_token(common), tenant_id, to)
    return _shown(fetched, common)


def _operators_token(common: Common) -> str:
    from handlers.adapters.key_files import KeyFileError
    from handlers.http_edge.tokens import OPERATOR, Signer

    chosen = settings(common)
    if chosen.signing_key_file is None:
        raise Misuse("no signing key: give a --token, or start `tenantctl dev`")
    try:
        signer = Signer.from_file(
            chosen.signing_key_file, issuer=chosen.token_issuer, audience=chosen.token_audience
        )
    except KeyFileError as error:
        raise Misuse(str(error)) from None
    return signer.sign(user="tenantctl", role=OPERATOR)


def _shown(fetched: Fetched, common: Common) -> int:
    record = {
        "parts": fetched.parts,
        "fetched": fetched.fetched,
        "size": fetched.size,
        "folder": fetched.folder,
    }
    if common.as_json:
        output.lines((record,))
    else:
        output.fields(record)
    for path in fetched.wrong:
        print(f"not as the manifest says: {path}", file=sys.stderr)
    return 1 if fetched.wrong else 0
