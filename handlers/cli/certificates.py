"""`tenantctl certificate …`: certificates of deletion, shown and checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from handlers.cli import output
from handlers.cli.asking import tenant_of
from handlers.cli.exits import DONE, REFUSED, Misuse
from handlers.cli.where import Common, connected, settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

app = App(name="certificate", help="Certificates of deletion: show, verify.")

COMMON = Common()
STORES = ("store", "what", "count", "how", "verified")


@app.command
async def show(tenant: str, *, to: Path | None = None, common: Common = COMMON) -> None:
    """Show the certificate of a deleted tenant; with --json as it was signed.

    Example: tenantctl certificate show 01938f5e-7c00-7000-8000-000000000001 --to certificate.json

    Parameters
    ----------
    tenant
        Its id.
    to
        A file to write it to, byte for byte as it was signed.
    """
    from handlers.adapters.certificates import canonical

    async with connected(common) as client:
        found = await client.query(await tenant_of(client, tenant), "certificate")
    document = canonical(found["document"])
    if to is not None:
        _write(to, document)
    if common.as_json:
        sys.stdout.write(f"{document.decode()}\n")
    else:
        _print(found["document"]["certificate"])


@app.command
def verify(file: Path, *, key: Path | None = None, common: Common = COMMON) -> int:
    """Check a certificate, without any server; exit code 1 when it is not what was signed.

    Example: tenantctl certificate verify certificate.json --key keys.json

    Parameters
    ----------
    file
        The certificate, byte for byte as it was signed.
    key
        The key that it must be signed with: a PEM, or what /.well-known/jwks.json answers; that of
        TENANTS_CERTIFICATE_KEY_FILE, or of `tenantctl dev`, by default.
    """
    from handlers.adapters.certificates import NotValid, verified

    try:
        document = file.read_bytes()
    except OSError as error:
        raise Misuse(f"{file} cannot be read: {error.strerror}") from None
    keys = _keys(key, common)
    try:
        certificate = verified(document.removesuffix(b"\n"), keys)
    except NotValid as reason:
        if common.as_json:
            output.lines(({"valid": False, "detail": str(reason)},))
        else:
            print(reason, file=sys.stderr)
        return REFUSED
    if common.as_json:
        output.lines(({"valid": True, "certificate": certificate},))
    else:
        print(f"Valid: signed by the key {certificate['key_id']}.")
        _print(certificate)
    return DONE


def _write(file: Path, document: bytes) -> None:
    try:
        file.write_bytes(document)
    except OSError as error:
        raise Misuse(f"{file} cannot be written: {error.strerror}") from None


def _keys(given: Path | None, common: Common) -> Mapping[str, Ed25519PublicKey]:
    from handlers.adapters.key_files import KeyFileError, public_keys

    path = given or settings(common).certificate_key_file
    if path is None:
        raise Misuse("say with --key which key it must be signed with, or set TENANTS_CERTIFICATE_KEY_FILE")
    try:
        return public_keys(path)
    except KeyFileError as error:
        raise Misuse(str(error)) from None


def _print(certificate: dict[str, Any]) -> None:
    output.fields({key: value for key, value in certificate.items() if key != "stores"})
    output.table(certificate["stores"], STORES)
