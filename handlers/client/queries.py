"""Queries: one answer, or the items of all pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from handlers.client.arguments import id_of, json_of, token_of
from handlers.client.link import Link, ask
from handlers.wire.subjects import FLEET
from tenant_domain.refusals import StaleRead

Item = TypeVar("Item")


def fields_of(**fields: Any) -> dict[str, Any]:
    """Return the fields that are given, times as JSON has them."""
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in fields.items()
        if value is not None
    }


async def queried(
    link: Link,
    tenant_id: UUID | str | None,
    name: str,
    fields: Mapping[str, Any],
    timeout: float | None = None,
) -> bytes:
    """Return the answer to a query about a tenant, or (None) over all of them, as JSON.

    It is asked again until it is answered. Where no `min_position` is given, it is that of this client's own
    last outcome; a page whose read model is long in reaching that is as it is. Raises the Refusal, and
    NoAnswer after `timeout` seconds; InvalidArgument, and ClientClosed.
    """
    timeout = link.within(timeout)
    tenant = None if tenant_id is None else id_of(tenant_id)
    subject = link.subjects.query(FLEET if tenant is None else tenant, token_of(name, "query"))
    asked, own = fields_of(**fields), link.written.position(tenant)
    if own and "min_position" not in asked:
        body = json_of({**asked, "min_position": own}, "the query")
        with suppress(StaleRead):
            return await ask(link, subject, body, {}, timeout)
    return await ask(link, subject, json_of(asked, "the query"), {}, timeout)


async def all_items(
    link: Link, tenant_id: UUID | str | None, name: str, fields: Mapping[str, Any], item: type[Item]
) -> AsyncGenerator[Item]:
    """Yield the items of all pages, reading a page when the one before is used up. Raises as `queried`."""
    decode = msgspec.json.Decoder(_page(item)).decode
    cursor: str | None = None
    while True:
        page = decode(await queried(link, tenant_id, name, {**fields, "cursor": cursor}))
        for each in page.items:
            yield each
        cursor = page.next_cursor
        if cursor is None:
            return


def _page(item: type[Any]) -> Any:
    return msgspec.defstruct("Page", [("items", list[item]), ("next_cursor", str | None)])
