"""Tenants' buckets on S3, or on a server that speaks it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote
from uuid import UUID

from obstore.store import S3Store

from handlers.adapters.bucket_names import Kind, bucket_name, owners
from handlers.adapters.effects import EffectFailed, PermanentlyFailed
from handlers.adapters.objects import Owner, in_the_way
from handlers.adapters.s3_account import Account, Refused

_PAGE = 1000
"""Buckets that are listed at a time: of more than 10,000 Amazon makes no list without pages."""

_IDENTITY = ("Key", "VersionId")

_MARK = "tenant-operation"
"""The tag of a bucket that says which operation made it."""

_LONG_AGO = datetime.fromtimestamp(0, UTC)

_UNKNOWN = (405, 501)
"""What servers answer that know no tags."""


class S3Buckets:
    """Buckets on S3. Without an endpoint they are Amazon's, without both keys botocore looks for them."""

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
        self._endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
        self._account = Account(self._endpoint, region, access_key, secret_key)

    async def exists(self, tenant_id: UUID) -> bool:
        """Return whether the tenant has a bucket. Raises EffectFailed where the store does not say it."""
        return await self._unless("404", "head_bucket", Bucket=self._name(tenant_id))

    async def create(self, tenant_id: UUID) -> None:
        """Create the tenant's bucket; raises PermanentlyFailed when somebody else has its name."""
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": self._region}}
        where = {} if self._region == "us-east-1" else elsewhere
        try:
            await self._unless(
                "BucketAlreadyOwnedByYou", "create_bucket", Bucket=self._name(tenant_id), **where
            )
        except Refused as refused:
            if refused.code == "BucketAlreadyExists":
                raise PermanentlyFailed(
                    "The name of the tenant's bucket belongs to somebody else."
                ) from refused
            raise

    async def remove(self, tenant_id: UUID) -> None:
        """Remove the objects of the tenant, then its bucket, with what it kept of former ones."""
        if not await self.exists(tenant_id):
            return
        name = self._name(tenant_id)
        await self._delete(name, "list_objects_v2", "Contents")
        try:
            await self._unless("NoSuchBucket", "delete_bucket", Bucket=name)
        except Refused as refused:
            if refused.code != "BucketNotEmpty":
                raise
            await self._abort_uploads(name)
            await self._delete(name, "list_object_versions", "Versions", "DeleteMarkers")
            await self._unless("NoSuchBucket", "delete_bucket", Bucket=name)

    async def claim(self, tenant_id: UUID, owner: Owner) -> None:
        """Create the tenant's bucket, and mark it with a tag."""
        name = self._name(tenant_id)
        if not await self.exists(tenant_id):
            await self.create(tenant_id)
        else:
            marked = await self._made_by(name)
            if marked == str(owner.operation_id):
                return
            if marked is not None or not await self._was_just_made(name, owner):
                raise in_the_way(name)
        tags = {"TagSet": [{"Key": _MARK, "Value": str(owner.operation_id)}]}
        try:
            await self._account.ask("put_bucket_tagging", Bucket=name, Tagging=tags)
        except Refused as refused:
            if refused.status not in _UNKNOWN:
                raise

    async def release(self, tenant_id: UUID, owner: Owner) -> None:
        """Remove the bucket that the operation has made."""
        name = self._name(tenant_id)
        if not await self.exists(tenant_id):
            return
        marked = await self._made_by(name)
        ours = marked == str(owner.operation_id) or (owner.made and marked is None)
        if not ours and (marked is not None or not await self._was_just_made(name, owner)):
            raise in_the_way(name)
        await self.remove(tenant_id)

    async def _made_by(self, name: str) -> str | None:
        """Return the operation that a bucket is marked with."""
        try:
            answer = await self._account.ask("get_bucket_tagging", Bucket=name)
        except Refused as refused:
            if refused.code == "NoSuchTagSet" or refused.status in _UNKNOWN:
                return None
            raise
        return next((tag["Value"] for tag in answer.get("TagSet", ()) if tag["Key"] == _MARK), None)

    async def _was_just_made(self, name: str, owner: Owner) -> bool:
        """Return whether a bucket without a mark is empty, and was made since the operation began.

        So is one whose maker died before it was marked.
        """
        made = await self._buckets()
        if made.get(name, _LONG_AGO) < owner.since.replace(microsecond=0):  # S3 tells whole seconds
            return False
        return not (await self._account.ask("list_objects_v2", Bucket=name, MaxKeys=1)).get("Contents")

    def open(self, tenant_id: UUID) -> S3Store:
        """Return the store of the tenant's objects."""
        return S3Store(
            self._name(tenant_id),
            config={
                "endpoint": self._endpoint,
                "region": self._region,
                "virtual_hosted_style_request": False,
            },
            client_options={"allow_http": self._endpoint.startswith("http://")},
            credential_provider=self._account.keys,
        )

    async def tenants(self) -> list[UUID]:
        """Return whose buckets there are. Raises EffectFailed."""
        return owners(self._prefix, self._kind, await self._buckets())

    async def _buckets(self) -> dict[str, datetime]:
        """Return when each bucket of the account was made."""
        made: dict[str, datetime] = {}
        following: dict[str, str] = {}
        while True:
            page = await self._account.ask("list_buckets", MaxBuckets=_PAGE, **following)
            for bucket in page.get("Buckets", ()):
                made[bucket["Name"]] = bucket.get("CreationDate", _LONG_AGO)
            if not (token := page.get("ContinuationToken")):
                return made
            following = {"ContinuationToken": token}

    async def close(self) -> None:
        """Close the connections."""
        self._account.close()

    async def _unless(self, code: str, operation: str, **parameters: object) -> bool:
        """Ask for an operation; returns whether it was done: False where this error was the answer."""
        try:
            await self._account.ask(operation, **parameters)
        except Refused as refused:
            if refused.code == code:
                return False
            raise
        return True

    async def _abort_uploads(self, bucket: str) -> None:
        """Remove the parts of uploads that nobody ended: the page that follows is the first one again."""
        more = True
        while more:
            page = await self._account.ask("list_multipart_uploads", Bucket=bucket, EncodingType="url")
            for upload in page.get("Uploads", ()):
                key = unquote(upload["Key"]) if "EncodingType" in page else upload["Key"]
                await self._unless(
                    "NoSuchUpload",
                    "abort_multipart_upload",
                    Bucket=bucket,
                    Key=key,
                    UploadId=upload["UploadId"],
                )
            more = page.get("IsTruncated")

    async def _delete(self, bucket: str, listing: str, *kinds: str) -> None:
        """Delete what a list shows of these kinds, page by page like uploads."""
        more = True
        while more:
            page = await self._account.ask(listing, Bucket=bucket)
            found: list[Any] = [each for kind in kinds for each in page.get(kind, ())]
            which = [{name: each[name] for name in _IDENTITY if name in each} for each in found]
            if which:
                deleting = {"Objects": which, "Quiet": True}
                answer = await self._account.ask("delete_objects", Bucket=bucket, Delete=deleting)
                _require_none(answer.get("Errors", ()))
            more = page.get("IsTruncated")

    def _name(self, tenant_id: UUID) -> str:
        return bucket_name(self._prefix, self._kind, tenant_id)


def _require_none(errors: Iterable[dict[str, str]]) -> None:
    """Raise EffectFailed with the codes of what was not deleted. Keys may be personal."""
    if codes := sorted({error.get("Code", "?") for error in errors}):
        raise EffectFailed(
            f"The object store did not delete what the bucket keeps ({', '.join(codes)})."
            " Locked versions stay until their time is over: then retry the operation."
        )
