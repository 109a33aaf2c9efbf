"""What obstore leaves out of S3: which buckets there are, and what a bucket holds beside its objects.

A bucket that keeps versions keeps whatever is deleted or written over, and an upload that nobody ended keeps
its parts. Neither is in a list of objects, and the first keeps the bucket from being removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote
from xml.etree import ElementTree

import httpx

from handlers.adapters.effects import EffectFailed
from handlers.adapters.s3_signing import Credentials, quoted_path, signed_url

_AT_ONCE = 16
"""Requests on their way at a time while a bucket is emptied."""

_EXPIRES = 60
"""Seconds for which a signed URL is good: it is used at once."""

Element = ElementTree.Element


class S3Requests:
    """Requests to the server at `endpoint`, over `http`, of whoever has the credentials."""

    def __init__(self, http: httpx.AsyncClient, endpoint: str, region: str, credentials: Credentials) -> None:
        self._http, self._endpoint, self._region = http, endpoint.rstrip("/"), region
        self._credentials = credentials

    async def buckets(self) -> list[str]:
        """Return the names of all buckets of these credentials. Raises EffectFailed."""
        listed = await self._list("/", {})
        return [_text(each, "Name") for each in listed.iter() if _tag(each) == "Bucket"]

    async def abort_uploads(self, bucket: str) -> int:
        """Remove the parts of uploads that nobody ended; returns how many uploads there were."""
        return await self._remove_all(bucket, "uploads", ("Upload",), "UploadId", "uploadId")

    async def delete_versions(self, bucket: str) -> int:
        """Delete all versions of all objects, and the marks of deletions; returns how many there were."""
        return await self._remove_all(
            bucket, "versions", ("Version", "DeleteMarker"), "VersionId", "versionId"
        )

    async def _remove_all(
        self, bucket: str, what: str, kinds: tuple[str, ...], identity: str, parameter: str
    ) -> int:
        """Remove page after page: what is on the first one goes, so there is always a first one."""
        removed = 0
        while True:
            page = await self._list(f"/{bucket}", {what: "", "encoding-type": "url"})
            found = [each for each in page if _tag(each) in kinds]
            if not found:
                return removed
            encoded = page.find("{*}EncodingType") is not None
            keys = [unquote(_text(each, "Key")) if encoded else _text(each, "Key") for each in found]
            await self._delete(
                bucket,
                [(key, {parameter: _text(each, identity)}) for key, each in zip(keys, found, strict=True)],
            )
            removed += len(found)

    async def _list(self, path: str, what: Mapping[str, str]) -> Element:
        answer = await self._ask("GET", path, what)
        if not answer.is_success:
            raise EffectFailed(f"The object store answered {answer.status_code} to a list of what it has.")
        return ElementTree.fromstring(answer.content)  # noqa: S314 - of our own object store

    async def _delete(self, bucket: str, what: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def delete(key: str, which: Mapping[str, str]) -> int:
            async with turns:
                return (await self._ask("DELETE", f"/{bucket}/{quoted_path(key)}", which)).status_code

        codes = await asyncio.gather(*(delete(key, which) for key, which in what))
        refused = {code for code in codes if code >= 300 and code != 404}
        if refused:
            raise EffectFailed(f"The object store answered {sorted(refused)} to deleting what a bucket kept.")

    async def _ask(
        self, method: Literal["GET", "DELETE"], path: str, what: Mapping[str, str]
    ) -> httpx.Response:
        url = signed_url(
            method,
            self._endpoint + path,
            what,
            credentials=self._credentials,
            region=self._region,
            now=datetime.now(UTC),
            expires=_EXPIRES,
        )
        return await sent(self._http, method, url)


async def sent(http: httpx.AsyncClient, method: str, url: str, body: str = "") -> httpx.Response:
    """Return the answer to a request. Raises EffectFailed when none came."""
    try:
        return await http.request(method, url, content=body)
    except httpx.HTTPError as error:
        raise EffectFailed(f"The object store could not be asked ({type(error).__name__}).") from error


def _tag(element: Element) -> str:
    """Return an element's name without its namespace, which servers differ in."""
    return element.tag.rpartition("}")[2]


def _text(element: Element, child: str) -> str:
    return element.findtext(f"{{*}}{child}") or ""
