"""Bearer tokens: JWTs signed with one Ed25519 key, and read with nothing else.

The algorithm is never taken from the token: a token that names another one than EdDSA is refused before
any key is touched. Why a token is refused is logged, never told.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog
from joserfc import jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import EdDSAAlgorithm, JWSAlgModel
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from handlers.adapters.key_files import private_key
from handlers.wire.subjects import is_tenant_id
from tenant_domain.authorisation import OPERATOR, ROLES, Caller
from tenant_domain.refusals import Unauthenticated
from tenant_domain.values import SEALED

__all__ = ["HOUR", "LEEWAY", "LONGEST", "OPERATOR", "VERIFIED", "Caller", "Signer"]

_log = structlog.get_logger()

HOUR = 3600.0
LEEWAY = 5.0
"""Seconds that the clocks of signer and reader may differ."""

LONGEST = 4096
"""Most characters of a token: ours have about 350, and all of it is hashed before it is believed."""

LONGEST_LIFE = 100 * 365 * 24 * HOUR
"""Seconds that a token may hold."""

_LONGEST_USER = 255
"""Characters of a user: it is the actor of events."""

VERIFIED = 1024
"""Most tokens whose signature is remembered as good: checking one costs more than the rest of a lookup."""


_ALGORITHM = EdDSAAlgorithm()


class _EdDSAOnly(JWSRegistry):
    """Knows one algorithm. EdDSA says too little only where other curves than Ed25519 are in use."""

    def get_alg(self, name: str) -> JWSAlgModel:
        if name != _ALGORITHM.name:
            raise UnsupportedAlgorithmError(name)
        return _ALGORITHM


_ONLY = _EdDSAOnly()


def require_use(user: str, role: str, tenant: str | None, lifetime: float) -> None:
    """Raise ValueError for a token that would be refused wherever it is shown, or would allow nothing."""
    if role not in ROLES:
        raise ValueError(f"there is no role {role!r}: {', '.join(ROLES)}")
    if role == OPERATOR and tenant is not None:
        raise ValueError(
            "an operator reaches every tenant, and is none within a tenant: leave out the tenant"
        )
    if not 1 <= lifetime <= LONGEST_LIFE:
        raise ValueError("a token holds for a second at least, and for a century at most")
    if not 0 < len(user) <= _LONGEST_USER or not user.isprintable() or user.startswith(SEALED):
        raise ValueError(f"a user is 1–{_LONGEST_USER} characters that can be printed")


class Signer:
    """Signs and reads tokens with one key. `now` gives seconds since the epoch."""

    def __init__(
        self,
        key: OKPKey,
        *,
        issuer: str = "tenants",
        audience: str = "tenants",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._key = key
        self._key_id = key.thumbprint()
        self._issuer = issuer
        self._audience = audience
        self._now = now
        self._verified = lru_cache(VERIFIED)(self._decoded)

    @classmethod
    def from_file(
        cls, path: Path, *, create: bool = False, issuer: str = "tenants", audience: str = "tenants"
    ) -> Signer:
        """Return the signer with the Ed25519 key (PEM, PKCS 8) in `path`; `create` makes a missing one.

        Raises KeyFileError, which says what to do.
        """
        return cls(private_key(path, create=create), issuer=issuer, audience=audience)

    def sign(self, *, user: str, role: str, tenant: str | None = None, lifetime: float = HOUR) -> str:
        """Return a token for `user` that ends after `lifetime` seconds.

        Raises ValueError when the tenant is not a tenant id, or when nobody could be meant.
        """
        if tenant is not None and not is_tenant_id(tenant):
            raise ValueError(f"{tenant!r} is not a tenant id: a lower-case hyphenated UUID")
        if tenant is None and role != OPERATOR:
            raise ValueError(f"the role {role!r} is one within a tenant: name its tenant")
        if not user or not role:
            raise ValueError("a token names a user and a role")
        now = int(self._now())
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": user,
            "role": role,
            "iat": now,
            "exp": now + int(lifetime),
        }
        if tenant is not None:
            claims["tenant"] = tenant
        return jwt.encode({"alg": _ALGORITHM.name, "kid": self._key_id}, claims, self._key, registry=_ONLY)

    def caller(self, token: str) -> Caller:
        """Return who `token` speaks for. Raises Unauthenticated, without saying what is wrong with it."""
        try:
            if len(token) > LONGEST:
                raise ValueError("too long")
            return self._checked(self._verified(token))
        except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
            _log.info("bearer refused", why=type(error).__name__)
            raise Unauthenticated("the bearer token is not valid here, or not any more") from None

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set, for services that read tokens themselves."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self._key_id, "use": "sig", "alg": _ALGORITHM.name}]}

    def _decoded(self, token: str) -> dict[str, Any]:
        return jwt.decode(token, self._key, registry=_ONLY).claims

    def _checked(self, claims: dict[str, Any]) -> Caller:
        now = self._now()
        audience: Any = claims["aud"]  # one, or a list
        if claims["iss"] != self._issuer or self._audience not in (
            audience if isinstance(audience, list) else [audience]
        ):
            raise ValueError("for others")
        if not _number(claims["exp"]) + LEEWAY > now:
            raise ValueError("expired")
        if _number(claims.get("nbf", 0)) - LEEWAY > now:
            raise ValueError("not yet")
        subject, role, tenant = claims["sub"], claims["role"], claims.get("tenant")
        if not (isinstance(subject, str) and subject and isinstance(role, str) and role):
            raise ValueError("nobody")
        if tenant is not None and not (isinstance(tenant, str) and is_tenant_id(tenant)):
            raise ValueError("no tenant id")
        return Caller(subject, tenant, role)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return value
