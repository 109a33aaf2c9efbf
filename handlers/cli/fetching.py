"""Fetching an export over HTTP into a folder, part by part, each checked against the manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import UUID

import httpx

from handlers.cli.exits import Misuse
from tenant_domain.refusals import Forbidden, NotFound, Unauthenticated, Unavailable

MANIFEST = "manifest.json"
CHUNK = 1024 * 1024


class Fetched(NamedTuple):
    """What came of it: `wrong` are the parts that are not as the manifest says."""

    folder: str
    parts: int
    fetched: int
    size: int
    wrong: list[str]


async def fetch(base: str, token: str, tenant_id: UUID, folder: Path) -> Fetched:
    """Fetch what is not in `folder` yet. Raises a Refusal, and Misuse for a path that leads out of it."""
    headers = {"Authorization": f"Bearer {token}"}
    export = f"{base.rstrip('/')}/api/v1/tenants/{tenant_id}/export"
    async with httpx.AsyncClient(headers=headers, timeout=60.0, trust_env=False) as http:
        await _fetch(http, f"{export}/{MANIFEST}", folder / MANIFEST)
        parts = json.loads((folder / MANIFEST).read_bytes())["parts"]
        count, wrong = 0, list[str]()
        for part in parts:
            target = _inside(folder, part["path"])
            if not _is_as_said(target, part):
                await _fetch(http, f"{export}/{quote(part['path'])}", target)
                count += 1
                if not _is_as_said(target, part):
                    wrong.append(part["path"])
    size = sum(part["size"] for part in parts)
    return Fetched(str(folder), len(parts), count, size, wrong)


async def _fetch(http: httpx.AsyncClient, url: str, target: Path) -> None:
    try:
        async with http.stream("GET", url) as response:
            if not response.is_success:
                raise _refused(json.loads(await response.aread()))
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                async for chunk in response.aiter_bytes(CHUNK):
                    out.write(chunk)
    except httpx.HTTPError as error:
        raise Unavailable(f"The HTTP edge could not be asked at {url} ({type(error).__name__}).") from error


def _refused(problem: dict[str, Any]) -> Exception:
    kinds = {401: Unauthenticated, 403: Forbidden, 404: NotFound}
    return kinds.get(problem["status"], Unavailable)(problem["detail"])


def _inside(folder: Path, path: str) -> Path:
    target = folder / path
    if not target.resolve().is_relative_to(folder.resolve()):
        raise Misuse(f"the export names a path outside of the folder: {path!r}")
    return target


def _is_as_said(target: Path, part: dict[str, Any]) -> bool:
    if not target.is_file() or target.stat().st_size != part["size"]:
        return False
    with target.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == part["sha256"]
