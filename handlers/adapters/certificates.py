"""Certificates of deletion: what was destroyed and how that was verified, signed, to be checked by anybody.

A certificate is one JSON object `{"certificate": {…}, "signature": "…"}` in canonical form: UTF-8, keys
sorted, no spaces. The signature (Ed25519, base64url) is over the canonical form of the inner object. The file
is checked byte for byte, so there is only one file that a certificate can be.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc.jwk import OKPKey

FORMAT = "tenant-deletion-certificate"

_canonical = msgspec.json.Encoder(order="sorted").encode


class NotValid(Exception):
    """The file is no certificate of this key; the message says why, in a sentence."""


class CertificateKey:
    """The key that certificates are signed with."""

    def __init__(self, key: OKPKey) -> None:
        private = key.private_key
        assert isinstance(private, Ed25519PrivateKey)
        self._private, self._public = private, key
        self.key_id = key.thumbprint()

    def signed(self, certificate: Mapping[str, Any]) -> bytes:
        """Return the document of a certificate, whose `key_id` is set here."""
        content = {**certificate, "format": FORMAT, "algorithm": "Ed25519", "key_id": self.key_id}
        signature = self._private.sign(_canonical(content))
        return _canonical({"certificate": content, "signature": _text(signature)})

    def jwk(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key."""
        return {**self._public.as_dict(private=False), "kid": self.key_id, "use": "sig", "alg": "EdDSA"}


def verified(document: bytes, keys: Mapping[str, Ed25519PublicKey]) -> dict[str, Any]:
    """Return what a certificate says, when one of `keys` (by id) signed it. Raises NotValid."""
    try:
        parts: dict[str, Any] = msgspec.json.decode(document, type=dict[str, Any])
        content, signature = parts["certificate"], parts["signature"]
        key = keys.get(content["key_id"])
        signed = urlsafe_b64decode(signature + "==")
        if content["format"] != FORMAT or _canonical(parts) != document or _text(signed) != signature:
            raise NotValid("The file is not as it was issued: a byte of it was changed.")
        if key is None:
            raise NotValid(f"The certificate is signed by another key: {content['key_id']}.")
        key.verify(signed, _canonical(content))
    except InvalidSignature:
        raise NotValid(
            "The signature does not fit: the certificate was changed after it was issued."
        ) from None
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError):
        raise NotValid("The file is not a certificate of deletion.") from None
    return content


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return a certificate's document as it was issued, from its parts."""
    return _canonical(document)


def sha256_of(document: bytes) -> str:
    """Return what the event `tenant.purged` names the document by."""
    return hashlib.sha256(document).hexdigest()


def _text(signature: bytes) -> str:
    return urlsafe_b64encode(signature).rstrip(b"=").decode()
