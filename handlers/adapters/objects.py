"""Tenants' objects: a bucket for each tenant, called `t-<tenant id in hex>`, in a local folder or on S3.

Another kind of bucket for each tenant, called `x-…`, holds its export: it is the service's, not the tenant's.

obstore reads and writes what is in a bucket. It makes no buckets; on S3 its signer gives the URLs that do.
What lists buckets, former versions and unfinished uploads needs the keys themselves (s3_requests.py).
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import obstore
from obstore.store import LocalStore, S3Store

from handlers.adapters.effects import EffectFailed, PermanentlyFailed
from handlers.adapters.s3_requests import S3Requests, sent
from handlers.adapters.s3_signing import Credentials

if TYPE_CHECKING:
    from obstore.store import S3Config

_Method: TypeAlias = Literal["HEAD", "PUT", "DELETE"]
ObjectStore: TypeAlias = LocalStore | S3Store

NEEDS_KEYS = "The service needs TENANTS_OBJECTS_ACCESS_KEY and TENANTS_OBJECTS_SECRET_KEY for that."
"""What to do where keys only come from the machine that the service runs on."""

_NOBODY = UUID(int=0)

_TIMEOUT = timedelta(seconds=10)
"""Most time for one request to the object store; a step's own limit bounds all of them."""


class Buckets(Protocol):
    """The buckets of all tenants. Creating what is there and removing what is not changes nothing."""

    async def exists(self, tenant_id: UUID) -> bool:
        """Return whether the tenant has a bucket."""
        ...

    async def create(self, tenant_id: UUID) -> None:
        """Create the tenant's bucket."""
        ...

    async def remove(self, tenant_id: UUID) -> None:
        """Remove the tenant's bucket, and all that is in it."""
        ...

    def open(self, tenant_id: UUID) -> ObjectStore:
        """Return the store of the tenant's objects."""
        ...

    async def tenants(self) -> list[UUID]:
        """Return whose buckets there are. Raises EffectFailed where the store cannot say it."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


Kind: TypeAlias = Literal["t", "x"]
"""What begins a bucket's name: `t` is a tenant's own, `x` holds the export of one."""


def buckets(
    url: str, access_key: str | None = None, secret_key: str | None = None, *, kind: Kind = "t"
) -> Buckets:
    """Return the buckets at `url`: `file:<folder>`, or `s3://<prefix>?endpoint=…&region=…`.

    On S3 `prefix` (may be empty) begins every bucket's name, since names are shared with other customers;
    without an endpoint it is Amazon's, and without keys they come from the environment. Raises ValueError.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalBuckets(Path(parts.netloc + parts.path), kind)
    if parts.scheme != "s3":
        raise ValueError(f"an object store is at file:… or s3://…, not {parts.scheme}:")
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return S3Buckets(
        prefix=parts.netloc,
        endpoint=options.get("endpoint"),
        region=options.get("region", "us-east-1"),
        access_key=access_key,
        secret_key=secret_key,
        kind=kind,
    )


class LocalBuckets:
    """Buckets that are folders, for development."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self._folder = folder
        self._kind: Kind = kind

    async def exists(self, tenant_id: UUID) -> bool:
        """Return whether the tenant has a folder."""
        return await asyncio.to_thread(self._path(tenant_id).exists)

    async def create(self, tenant_id: UUID) -> None:
        """Create the tenant's folder."""
        await asyncio.to_thread(self._path(tenant_id).mkdir, 0o700, parents=True, exist_ok=True)

    async def remove(self, tenant_id: UUID) -> None:
        """Remove the tenant's folder."""
        await asyncio.to_thread(_remove_folder, self._path(tenant_id))

    def open(self, tenant_id: UUID) -> ObjectStore:
        """Return the store of the tenant's objects."""
        return LocalStore(self._path(tenant_id))

    async def tenants(self) -> list[UUID]:
        """Return whose folders there are."""
        return _owners("", self._kind, await asyncio.to_thread(_names_in, self._folder))

    async def close(self) -> None:
        """Do nothing: folders need no closing."""

    def _path(self, tenant_id: UUID) -> Path:
        return self._folder / _bucket("", self._kind, tenant_id)


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def _remove_folder(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


class S3Buckets:
    """Buckets on S3, or on a server that speaks it. Without keys it cannot list them, nor former versions."""

    def __init__(
        self,
        *,
        prefix: str,
        endpoint: str | None,
        region: str,
        access_key: str | None,
        secret_key: str | None,
        kind: Kind,
    ) -> None:
        self._prefix, self._region = prefix, region
        self._kind: Kind = kind
        self._config: S3Config = {"region": region, "virtual_hosted_style_request": False}
        if endpoint:
            self._config["endpoint"] = endpoint
        if access_key and secret_key:
            self._config |= {"access_key_id": access_key, "secret_access_key": secret_key}
        self._http = httpx.AsyncClient(timeout=_TIMEOUT.total_seconds(), trust_env=False)
        self._requests: S3Requests | None = None
        if credentials := _credentials(access_key, secret_key):
            at = endpoint or f"https://s3.{region}.amazonaws.com"
            self._requests = S3Requests(self._http, at, region, credentials)

    async def exists(self, tenant_id: UUID) -> bool:
        """Return whether the tenant has a bucket."""
        return (await self._ask("HEAD", tenant_id)).status_code != 404

    async def create(self, tenant_id: UUID) -> None:
        """Create the tenant's bucket; raises PermanentlyFailed when somebody else has its name."""
        body = "" if self._region == "us-east-1" else _LOCATION.format(self._region)
        answer = await self._ask("PUT", tenant_id, body)
        if answer.is_success or "BucketAlreadyOwnedByYou" in answer.text:
            return
        if answer.status_code == 409 and "BucketAlreadyExists" in answer.text:
            raise PermanentlyFailed("The name of the tenant's bucket belongs to somebody else.")
        raise EffectFailed(f"The object store answered {answer.status_code} to making the bucket.")

    async def remove(self, tenant_id: UUID) -> None:
        """Remove the objects of the tenant, then its bucket, with what it kept of former ones."""
        if not await self.exists(tenant_id):
            return
        store = self.open(tenant_id)
        async for page in obstore.list(store):
            await obstore.delete_async(store, [entry["path"] for entry in page])
        answer = await self._ask("DELETE", tenant_id)
        if answer.status_code == 409 and "BucketNotEmpty" in answer.text:
            await self._empty(_bucket(self._prefix, self._kind, tenant_id))
            answer = await self._ask("DELETE", tenant_id)
        if not answer.is_success and answer.status_code != 404:
            raise EffectFailed(f"The object store answered {answer.status_code} to removing the bucket.")

    async def _empty(self, bucket: str) -> None:
        """Delete what no list of objects shows."""
        if self._requests is None:
            raise EffectFailed(f"The bucket keeps former versions of objects. {NEEDS_KEYS}")
        await self._requests.abort_uploads(bucket)
        await self._requests.delete_versions(bucket)

    def open(self, tenant_id: UUID) -> S3Store:
        """Return the store of the tenant's objects."""
        return S3Store(
            _bucket(self._prefix, self._kind, tenant_id),
            config=self._config,
            client_options={"allow_http": self._config.get("endpoint", "").startswith("http://")},
        )

    async def tenants(self) -> list[UUID]:
        """Return whose buckets there are. Raises EffectFailed."""
        if self._requests is None:
            raise EffectFailed(f"The buckets cannot be listed. {NEEDS_KEYS}")
        return _owners(self._prefix, self._kind, await self._requests.buckets())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(
        self, method: Literal["HEAD", "PUT", "DELETE"], tenant_id: UUID, body: str = ""
    ) -> httpx.Response:
        url = await obstore.sign_async(self.open(tenant_id), method, "", _TIMEOUT)
        return await sent(self._http, method, url, body)


_LOCATION = (
    '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>"
)


def _bucket(prefix: str, kind: Kind, tenant_id: UUID) -> str:
    return f"{prefix}-{kind}-{tenant_id.hex}" if prefix else f"{kind}-{tenant_id.hex}"


def _owners(prefix: str, kind: Kind, names: Iterable[str]) -> list[UUID]:
    """Return the tenants whose buckets are among these names."""
    head = _bucket(prefix, kind, _NOBODY).removesuffix(_NOBODY.hex)
    named = (re.fullmatch(re.escape(head) + "([0-9a-f]{32})", name) for name in names)
    return [UUID(found[1]) for found in named if found]


def _credentials(access_key: str | None, secret_key: str | None) -> Credentials | None:
    """Return the given keys, or those of the environment; what only obstore can come by is not among them."""
    if access_key and secret_key:
        return Credentials(access_key, secret_key)
    access_key, secret_key = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if access_key and secret_key:
        return Credentials(access_key, secret_key, os.environ.get("AWS_SESSION_TOKEN"))
    return None
