"""URLs signed by us are what Amazon's own library signs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as TheirCredentials

from handlers.adapters.s3_signing import Credentials, quoted_path, signed_url

NOW = datetime(2026, 11, 26, 17, 5, 9, tzinfo=UTC)
KEY = "berichte/größe 2026+&=?#%7E~'(*).txt"


@pytest.mark.parametrize(
    ("method", "at", "key", "parameters"),
    [
        ("GET", "https://s3.eu-central-1.amazonaws.com", "", {}),
        ("GET", "http://127.0.0.1:9000", "", {"versions": "", "encoding-type": "url"}),
        ("DELETE", "https://objects.example:443", KEY, {"versionId": "3/L4kqtJl+40=", "a b": "ü&="}),
    ],
)
@pytest.mark.parametrize("token", [None, "lent/for+a=while"])
def test_a_url_is_signed_as_amazons_own_library_does(
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    at: str,
    key: str,
    parameters: dict[str, str],
    token: str | None,
) -> None:
    monkeypatch.setattr(auth, "get_current_datetime", lambda: NOW.replace(tzinfo=None))
    url = f"{at}/bucket/{quoted_path(key)}" if key else f"{at}/"
    theirs: Any = AWSRequest(method=method, url=url, params=parameters)
    auth.S3SigV4QueryAuth(
        TheirCredentials("an id", "a secret", token), "s3", "eu-central-1", expires=60
    ).add_auth(theirs)
    ours = signed_url(
        method,
        url,
        parameters,
        credentials=Credentials("an id", "a secret", token),
        region="eu-central-1",
        now=NOW,
        expires=60,
    )
    assert ours.rpartition("=")[2] == str(theirs.url).rpartition("=")[2]
