"""Signing URLs for S3 with parameters of their own (Signature Version 4 in the query), which obstore's signer
cannot: what lists versions, unfinished uploads and buckets is told apart by a parameter alone.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Credentials(NamedTuple):
    """Whose access key signs; `token` goes with keys that are lent for a while."""

    access_key: str
    secret_key: str
    token: str | None = None


def signed_url(
    method: str,
    url: str,
    parameters: Mapping[str, str],
    *,
    credentials: Credentials,
    region: str,
    now: datetime,
    expires: int,
) -> str:
    """Return `url` with the parameters, to be used within `expires` seconds of `now` (in UTC).

    Its path is quoted, and it has no query. What is sent as a body is not signed.
    """
    parts = urlsplit(url)
    time = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{region}/s3/aws4_request"
    query = {
        **parameters,
        "X-Amz-Algorithm": _ALGORITHM,
        "X-Amz-Credential": f"{credentials.access_key}/{scope}",
        "X-Amz-Date": time,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": "host",
    }
    if credentials.token is not None:
        query["X-Amz-Security-Token"] = credentials.token
    encoded = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(query.items()))
    host = parts.hostname or ""
    if parts.port not in (None, _DEFAULT_PORTS.get(parts.scheme)):
        host = f"{host}:{parts.port}"
    request = "\n".join((method, parts.path or "/", encoded, f"host:{host}\n", "host", "UNSIGNED-PAYLOAD"))
    signed = "\n".join((_ALGORITHM, time, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{url}?{encoded}&X-Amz-Signature={hmac.digest(key, signed.encode(), 'sha256').hex()}"


def quoted_path(path: str) -> str:
    """Return the path of an object as it stands in a URL."""
    return quote(path, safe="/-_.~")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
