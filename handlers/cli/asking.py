"""What the commands over NATS share: queries page by page, commands with their outcome, who is meant."""

from __future__ import annotations

import getpass
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from handlers.cli import output
from handlers.cli.exits import DONE, REFUSED, Misuse
from handlers.cli.where import Asking, Common, connected

if TYPE_CHECKING:
    from handlers.client import Operation, Outcome, TenantClient

Record = dict[str, Any]

PAGE = 200
"""Items asked for at a time."""

RUN_COLUMNS = ("name", "status", "attempts", "started_at", "finished_at", "error")


async def pages(
    client: TenantClient, tenant: UUID | None, query: str, **fields: Any
) -> AsyncGenerator[Record]:
    """Yield the items of all pages of a query about a tenant, or (None) over all."""
    cursor: str | None = None
    while True:
        page = await client.query(tenant, query, limit=PAGE, cursor=cursor, **fields)
        for item in page["items"]:
            yield item
        cursor = page["next_cursor"]
        if cursor is None:
            return


def operator() -> str:
    """Return who is at the command line, as what is written down names them."""
    return f"tenantctl:{getpass.getuser()}"


def agreed(question: str) -> bool:
    """Ask a person, and return whether they said yes. Raises Misuse where nobody is there to be asked."""
    if not sys.stdin.isatty():
        raise Misuse("nobody is there to be asked: give --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


async def tenant_of(client: TenantClient, tenant: str) -> UUID:
    """Return the id of the tenant that is meant by its id or its subdomain. Raises TenantNotFound."""
    known = _uuid(tenant)
    if known is not None:
        return known
    found = await client.query(None, "by_subdomain", subdomain=tenant)
    return UUID(found["tenant_id"])


def pairs(texts: Sequence[str] | None) -> dict[str, str] | None:
    """Return KEY=VALUE texts as a dictionary; None stays None. Raises Misuse."""
    if texts is None:
        return None
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise Misuse(f"{wrong[0]!r} is not KEY=VALUE")
    return dict(text.split("=", 1) for text in texts)


def given(fields: Mapping[str, Any]) -> Record:
    """Return the fields that are given."""
    return {key: value for key, value in fields.items() if value is not None}


async def commanded(
    tenant: UUID | str, command: str, fields: Mapping[str, Any], asking: Asking, wanted: str = "succeeded"
) -> int:
    """Have a command done with the fields that are given, print what came of it, and return the exit code.

    `tenant` is an id or a subdomain; `wanted` is what the operation has to end as, where that is waited for.
    Raises the Refusal, and Unavailable.
    """
    async with connected(asking) as client:
        target = tenant if isinstance(tenant, UUID) else await tenant_of(client, tenant)
        return await _commanded(client, target, command, given(fields), asking, wanted)


async def _commanded(
    client: TenantClient, tenant: UUID, command: str, body: Record, asking: Asking, wanted: str
) -> int:
    outcome = await client.command(
        tenant,
        command,
        body,
        command_id=asking.command_id,
        expected_version=asking.expected_version,
        actor=operator(),
    )
    one(_record(outcome), asking)
    if outcome.operation_id is None:
        return DONE
    if not asking.wait:
        if not asking.as_json:
            print(f"Follow it: tenantctl operations show {tenant} {outcome.operation_id}")
        return DONE
    ended = await outcome.operation()
    assert ended is not None
    show_operation(msgspec.to_builtins(ended), asking)
    return DONE if ended.status == wanted else REFUSED


def succeeded(operation: Operation) -> bool:
    """Return whether an operation that has ended did what was asked."""
    return operation.status == "succeeded"


def one(record: Mapping[str, Any], common: Common) -> None:
    """Print one record."""
    if common.as_json:
        output.lines((record,))
    else:
        output.fields(record)


def show_operation(operation: Mapping[str, Any], common: Common) -> None:
    """Print an operation with its steps."""
    if common.as_json:
        output.lines((operation,))
        return
    output.fields({key: value for key, value in operation.items() if key != "steps"})
    output.table(operation["steps"], RUN_COLUMNS)


def _record(outcome: Outcome) -> Record:
    return {
        "command_id": outcome.command_id,
        "tenant_id": outcome.tenant_id,
        "status": "completed",
        "version": outcome.version,
        "position": outcome.position,
        "operation_id": outcome.operation_id,
        "result": outcome.result,
    }


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def types_of(names: list[str] | None) -> list[str] | None:
    """Return the given types of events. Raises Misuse, with the nearest name, for an unknown one."""
    from tenant_domain.event_types import UnknownType, known_types

    try:
        return None if names is None else known_types(names)
    except UnknownType as error:
        raise Misuse(f"--type: {error}") from None
