"""The service's account on S3: as whom it acts, and what it asks for beside objects.

botocore makes, lists and empties buckets, obstore reads and writes what is in them, with the same keys.
To import botocore takes half a second, so only s3_buckets.py does, and that only where S3 is configured.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.session import Session

from handlers.adapters.clock import utc_now
from handlers.adapters.effects import EffectFailed
from handlers.adapters.threads import Threads

if TYPE_CHECKING:
    from obstore.store import S3Credential

_AT_ONCE = 16
"""Requests on their way at a time."""

_TIMEOUT = 10
"""Most seconds to connect, and to wait for more of an answer; a step's own limit bounds all its requests."""

_LENT = timedelta(minutes=10)
"""For how long obstore may use keys: botocore renews lent ones at the latest so long before their end."""


class Refused(EffectFailed):
    """The object store answered, with an error: `status` of HTTP, `code` of S3."""

    def __init__(self, operation: str, status: int, code: str) -> None:
        super().__init__(f"The object store answered {status} ({code}) to {operation}.")
        self.status, self.code = status, code


class Account:
    """Asks the server at `endpoint`, with the given keys, or else with those that botocore finds.

    It looks for them in the environment, a profile, and the machine that it runs on (an instance's role).
    """

    def __init__(self, endpoint: str, region: str, access_key: str | None, secret_key: str | None) -> None:
        self._endpoint, self._region = endpoint, region
        self._session: Any = Session()
        if access_key and secret_key:
            self._session.set_credentials(access_key, secret_key)
        self._threads = Threads(_AT_ONCE, "s3")
        self._opening = threading.Lock()
        self._client: Any = None

    async def ask(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Return the answer to an operation of botocore's S3 client, by its name there.

        Raises Refused, and EffectFailed when no answer came. Who is cancelled has waited for the answer.
        """
        return await self._threads.call(self._answer, operation, parameters)

    def keys(self) -> S3Credential:
        """Return the keys for obstore. Raises botocore's errors; may ask the machine, and wait for it."""
        with self._opening:
            found: Credentials | None = self._session.get_credentials()
        if found is None:
            raise NoCredentialsError
        keys: ReadOnlyCredentials = found.get_frozen_credentials()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": utc_now() + _LENT,
        }

    def close(self) -> None:
        """Close the connections."""
        self._threads.close()
        if self._client is not None:
            self._client.close()

    def _answer(self, operation: str, parameters: dict[str, object]) -> dict[str, Any]:
        # What botocore says may quote what was signed: of its errors only names and codes are told.
        try:
            return getattr(self._opened(), operation)(**parameters)
        except ClientError as error:
            answer: Any = error.response
            status = answer["ResponseMetadata"]["HTTPStatusCode"]
            raise Refused(operation, status, answer["Error"]["Code"]) from None
        except BotoCoreError as error:
            raise EffectFailed(
                f"The object store of TENANTS_OBJECTS_URL could not be asked ({type(error).__name__})."
            ) from None

    def _opened(self) -> Any:
        """Return the client. It is made when it is first needed, since that may ask the machine for keys."""
        with self._opening:
            if self._client is None:
                self._client = self._session.create_client(
                    "s3", endpoint_url=self._endpoint, region_name=self._region, config=_CONFIG
                )
                for operation in ("DeleteObjects", "PutBucketTagging"):
                    self._client.meta.events.register(f"before-sign.s3.{operation}", _add_md5)
            return self._client


_CONFIG = Config(
    connect_timeout=_TIMEOUT,
    read_timeout=_TIMEOUT,
    retries={"total_max_attempts": 1},  # a step has retries of its own
    proxies={},  # none of the environment's
    max_pool_connections=_AT_ONCE,
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
)


def _add_md5(request: Any, **_: object) -> None:
    """Add the checksum that servers other than Amazon's ask for; botocore only sends a newer one."""
    digest = hashlib.md5(request.body, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()
