"""Tenants' objects: a bucket for each tenant, called `t-<tenant id in hex>`, in a local folder or on S3.

Another kind of bucket for each tenant, called `x-…`, holds its export: it is the service's, not the tenant's.

obstore reads and writes what is in a bucket. It makes no buckets: on S3 botocore does (s3_buckets.py).
"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from obstore.store import LocalStore, S3Store

from handlers.adapters.bucket_names import Kind, bucket_name, owners
from handlers.adapters.effects import PermanentlyFailed
from handlers.adapters.threads import Threads

ObjectStore: TypeAlias = LocalStore | S3Store

MARKS = ".operations"
"""The folder beside those of the tenants with the mark of each: which operation made it."""

_AT_ONCE = 4
"""Folders that are made or removed at a time."""


class Owner(NamedTuple):
    """The operation that makes a bucket, and when it began; `made` where its journal says that it has."""

    operation_id: UUID
    since: datetime
    made: bool = False


def in_the_way(name: str) -> PermanentlyFailed:
    """Return what is raised in front of a bucket that somebody else has made."""
    return PermanentlyFailed(
        f"A bucket {name} stands there that this run did not make. It is left as it is: look at it, then"
        " rename or remove it, and retry the operation."
    )


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

    async def claim(self, tenant_id: UUID, owner: Owner) -> None:
        """Create the tenant's bucket, with the mark of the operation that does; again changes nothing.

        Raises PermanentlyFailed in front of a bucket that bears no mark of it.
        """
        ...

    async def release(self, tenant_id: UUID, owner: Owner) -> None:
        """Remove the bucket that the operation has made, with all that is in it.

        Raises PermanentlyFailed in front of one that it has not.
        """
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


def buckets(
    url: str, access_key: str | None = None, secret_key: str | None = None, *, kind: Kind = "t"
) -> Buckets:
    """Return the buckets at `url`: `file:<folder>`, or `s3://<prefix>?endpoint=…&region=…`.

    On S3 `prefix` (may be empty) begins every bucket's name, since names are shared with other customers;
    without an endpoint it is Amazon's, and without keys they are looked for as Amazon's own tools do:
    environment, profile, instance's role. Raises ValueError.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalBuckets(Path(parts.netloc + parts.path), kind)
    if parts.scheme != "s3":
        raise ValueError(f"an object store is at file:… or s3://…, not {parts.scheme}:")
    from handlers.adapters.s3_buckets import S3Buckets  # imports botocore, which takes half a second

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
        self._threads = Threads(_AT_ONCE, "objects")

    async def exists(self, tenant_id: UUID) -> bool:
        """Return whether the tenant has a folder."""
        return await self._threads.call(self._path(tenant_id).exists)

    async def create(self, tenant_id: UUID) -> None:
        """Create the tenant's folder."""
        await self._threads.call(self._path(tenant_id).mkdir, 0o700, parents=True, exist_ok=True)

    async def remove(self, tenant_id: UUID) -> None:
        """Remove the tenant's folder."""
        await self._threads.call(_remove_folder, self._path(tenant_id))

    async def claim(self, tenant_id: UUID, owner: Owner) -> None:
        """Create the tenant's folder, with its mark beside it: first the mark, so that none is without."""
        await self._threads.call(_claim, self._path(tenant_id), str(owner.operation_id))

    async def release(self, tenant_id: UUID, owner: Owner) -> None:
        """Remove the folder that the operation has made."""
        await self._threads.call(_release, self._path(tenant_id), owner)

    def open(self, tenant_id: UUID) -> ObjectStore:
        """Return the store of the tenant's objects."""
        return LocalStore(self._path(tenant_id))

    async def tenants(self) -> list[UUID]:
        """Return whose folders there are."""
        return owners("", self._kind, await self._threads.call(_names_in, self._folder))

    async def close(self) -> None:
        """End the threads."""
        self._threads.close()

    def _path(self, tenant_id: UUID) -> Path:
        return self._folder / bucket_name("", self._kind, tenant_id)


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def _remove_folder(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
    _mark_of(path).unlink(missing_ok=True)


def _claim(path: Path, operation_id: str) -> None:
    mark = _mark_of(path)
    if not path.exists():
        mark.parent.mkdir(0o700, parents=True, exist_ok=True)
        mark.write_text(operation_id)
        path.mkdir(0o700, exist_ok=True)
    elif _marked(mark) != operation_id:
        raise in_the_way(path.name)


def _release(path: Path, owner: Owner) -> None:
    marked = _marked(_mark_of(path))
    ours = marked == str(owner.operation_id) or (owner.made and not marked)  # an older version left no marks
    if path.exists() and not ours:
        raise in_the_way(path.name)
    _remove_folder(path)


def _mark_of(path: Path) -> Path:
    return path.parent / MARKS / path.name


def _marked(mark: Path) -> str:
    return mark.read_text() if mark.exists() else ""
