"""Keys: the master key of the service, what derives from it for a tenant, and what it wraps.

Nothing derived is stored or logged; it is made again from the master key whenever it is needed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from handlers.adapters.keyring import KeyNotUnwrapped

KEY_BYTES = 32
_NONCE = 12
SCRAM_ITERATIONS = 4096
"""The least that drivers accept; the password has 256 random bits, so more would only cost time."""


class MasterKeyError(KeyNotUnwrapped):
    """The master key file is missing, does not hold 32 bytes in hex, or is not that of the database."""


class MasterKey:
    """The master key. It never shows itself."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._wrapping = AESGCM(hmac.digest(secret, b"wrap data keys", "sha256"))
        self._marking = hmac.digest(secret, b"mark commands", "sha256")

    def __repr__(self) -> str:
        return "MasterKey(hidden)"

    def derive(self, purpose: str, tenant_id: UUID) -> bytes:
        """Return 32 bytes for one purpose and tenant: always the same, and telling nothing of any other."""
        return hmac.digest(self._secret, purpose.encode() + b"\x00" + tenant_id.bytes, "sha256")

    async def wrap(self, secret: bytes, bound_to: bytes) -> bytes:
        """Return a data key as it is stored: readable with this key, and for what it is bound to, alone."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._wrapping.encrypt(nonce, secret, bound_to)

    async def unwrap(self, wrapped: bytes, bound_to: bytes) -> bytes:
        """Return the data key that `wrap` was given.

        Raises MasterKeyError when it was another master key, or another binding.
        """
        try:
            return self._wrapping.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], bound_to)
        except InvalidTag:
            raise MasterKeyError("A tenant's data key was wrapped with another master key.") from None

    def check_value(self) -> bytes:
        """Return 16 bytes that tell this key from any other, and from which nobody can guess it."""
        return hmac.digest(self._secret, b"check value", "sha256")[:16]

    def fingerprint(self, digest: bytes) -> bytes:
        """Return 16 bytes that tell a digest from any other, and from which nobody else can guess it."""
        return hashlib.blake2b(digest, key=self._marking, digest_size=16).digest()

    def database_password(self, tenant_id: UUID) -> str:
        """Return the password of the tenant's database role."""
        return base64.urlsafe_b64encode(self.derive("database-password", tenant_id)).rstrip(b"=").decode()

    def scram_verifier(self, tenant_id: UUID) -> str:
        """Return what PostgreSQL keeps of that password (RFC 5803), so the password itself never travels."""
        salt = self.derive("database-salt", tenant_id)[:16]
        password = self.database_password(tenant_id).encode()
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, SCRAM_ITERATIONS)
        stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        server = hmac.digest(salted, b"Server Key", "sha256")
        return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{_b64(salt)}${_b64(stored)}:{_b64(server)}"


def load_master_key(file: Path, *, create: bool) -> MasterKey:
    """Return the key in `file`; with `create` (for development) a missing one is made, for its owner alone.

    Raises MasterKeyError.
    """
    if create and not file.exists():
        _make(file)
    try:
        secret = bytes.fromhex(file.read_text().strip())
    except FileNotFoundError:
        raise MasterKeyError(
            f"There is no master key file {file}: set TENANTS_MASTER_KEY_FILE, or for a new service make one "
            f"(`openssl rand -hex {KEY_BYTES}`, or TENANTS_CREATE_KEYS=true)."
        ) from None
    except OSError as error:
        raise MasterKeyError(f"The master key file {file} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise MasterKeyError(f"The master key file {file} does not hold hexadecimal digits.") from None
    if len(secret) != KEY_BYTES:
        raise MasterKeyError(f"The master key file {file} must hold {KEY_BYTES} bytes in hex.")
    return MasterKey(secret)


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_hex(KEY_BYTES) + "\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(draft, file)  # never over another process's key
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
