"""Files of Ed25519 keys: private ones that sign, made in development; public ones that check."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey


class KeyFileError(Exception):
    """A key file is missing, unreadable, or not what it must be; the message says what to do."""


@contextmanager
def named_by(variable: str) -> Generator[None]:
    """Say in a KeyFileError from inside which variable names the file."""
    try:
        yield
    except KeyFileError as error:
        raise KeyFileError(f"{variable}: {error}") from None


def private_key(path: Path, *, create: bool = False) -> OKPKey:
    """Return the Ed25519 key (PEM, PKCS 8) in `path`; `create` makes a missing one. Raises KeyFileError."""
    if create and not path.exists():
        _make(path)
    try:
        key = OKPKey.import_key(_content(path))
    except (JoseError, ValueError, TypeError):
        key = None
    if key is None or not key.is_private or not isinstance(key.private_key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 private key in PEM without a password")
    return key


def public_keys(path: Path) -> Mapping[str, Ed25519PublicKey]:
    """Return the Ed25519 keys in `path` by their ids: a PEM, private or public, or a JSON Web Key Set.

    Raises KeyFileError.
    """
    content = _content(path)
    try:
        if content.lstrip().startswith(b"{"):
            found = [OKPKey.import_key(each) for each in json.loads(content)["keys"]]
        else:
            found = [OKPKey.import_key(content)]
    except (JoseError, ValueError, TypeError, KeyError):
        found = []
    keys = {key.thumbprint(): key.public_key for key in found}
    checking = {name: key for name, key in keys.items() if isinstance(key, Ed25519PublicKey)}
    if not checking:
        raise KeyFileError(f"{path} holds no Ed25519 key: neither a PEM nor a JSON Web Key Set")
    return checking


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise KeyFileError(
            f"there is no key at {path}: make one with "
            f"`openssl genpkey -algorithm ed25519 -out {path}`, or set TENANTS_CREATE_KEYS=true"
        ) from None
    except OSError as error:
        raise KeyFileError(f"the key at {path} cannot be read: {error.strerror}") from None


def _make(path: Path) -> None:
    """Write a new key that only we can read; of several processes at once one wins, for all."""
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # with mode 0600
    with open(descriptor, "wb") as file:
        file.write(pem)
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        os.unlink(draft)
