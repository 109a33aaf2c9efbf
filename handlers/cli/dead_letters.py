"""`tenantctl dead-letters …`: messages that were given up, and what to do about them."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cyclopts import App

from handlers.cli import output
from handlers.cli.exits import DONE, REFUSED, Misuse
from handlers.cli.where import Common, Limit, bus, keyring, settings, store
from handlers.wire.subjects import Streams, Subjects
from tenant_domain.refusals import NotFound

if TYPE_CHECKING:
    from nats.aio.client import Client

    from handlers.adapters.keyring import Keyring
    from handlers.bus.dead_letters import Letter

app = App(name="dead-letters", help="Messages that were given up: list, show, replay.")

COLUMNS = ("number", "time", "tenant", "stream", "reason", "subject", "error.detail")
COMMON = Common()

CHUNK = 100
"""Letters read at a time."""


@app.command(name="list")
async def list_letters(
    *,
    tenant: str | None = None,
    stream: str | None = None,
    reason: str | None = None,
    limit: Limit = 100,
    common: Common = COMMON,
) -> None:
    """List dead letters, oldest first.

    Example: tenantctl dead-letters list --reason invalid-command

    Parameters
    ----------
    tenant
        Id of a tenant, or unknown.
    stream
        Name of the stream that the message stood in.
    reason
        Why it was given up: the name of a problem, or max-deliveries, or terminated.
    limit
        Most letters to list; 0 is all.
    """
    async with _readable(common) as (nc, keys):
        found = (_record(letter) async for letter in _found(nc, keys, common, tenant, stream, reason))
        await output.listed(found, COLUMNS, as_json=common.as_json, limit=limit, empty="No dead letter fits.")


@app.command
async def show(number: int, *, common: Common = COMMON) -> None:
    """Show a dead letter with its headers and body.

    Example: tenantctl dead-letters show 7

    Parameters
    ----------
    number
        Its number, as in `dead-letters list`.
    """
    async with _readable(common) as (nc, keys):
        record = _record(await _one(common, nc, keys, number))
    if common.as_json:
        output.lines((record,))
    else:
        output.fields(record)


@app.command
async def replay(
    number: int | None = None, *more: int, reason: str | None = None, common: Common = COMMON
) -> int:
    """Send the commands of dead letters again, through the durable door and with their own ids.

    A command that was decided meanwhile gives its recorded outcome. Exit code 1 when one cannot be sent.

    Example: tenantctl dead-letters replay 7 8 9
    Example: tenantctl dead-letters replay --reason max-deliveries

    Parameters
    ----------
    number
        Number of a letter, as in `dead-letters list`.
    more
        Numbers of more letters.
    reason
        In place of numbers: all letters with this reason.
    """
    from handlers.bus.dead_letters import NotReplayable
    from handlers.bus.dead_letters import replay as send

    if (number is None) == (reason is None):
        raise Misuse("give either numbers or --reason")
    code = DONE
    async with _readable(common) as (nc, keys):
        prefix = settings(common).subject_prefix
        subjects, streams = Subjects(prefix), Streams.of(prefix)
        async for letter in _chosen(nc, keys, common, (number, *more), reason):
            record: dict[str, Any] = {"number": letter.number, "sequence": None, "error": None}
            try:
                record["sequence"] = await send(nc, subjects, streams, letter.letter)
            except NotReplayable as error:
                record["error"] = str(error)
                code = REFUSED
            _say(record, common)
    return code


@asynccontextmanager
async def _readable(common: Common) -> AsyncGenerator[tuple[Client, Callable[[], Keyring]]]:
    """Give a connection, and the keyring for whoever meets a sealed body."""
    async with bus(common) as nc, store(common) as log:
        yield nc, lambda: keyring(common, log)


async def _chosen(
    nc: Client,
    keys: Callable[[], Keyring],
    common: Common,
    numbers: tuple[int | None, ...],
    reason: str | None,
) -> AsyncGenerator[Letter]:
    if reason is not None:
        async for letter in _found(nc, keys, common, None, None, reason):
            yield letter
        return
    for number in numbers:
        assert number is not None
        yield await _one(common, nc, keys, number)


async def _found(
    nc: Client,
    keys: Callable[[], Keyring],
    common: Common,
    tenant: str | None,
    stream: str | None,
    reason: str | None,
) -> AsyncGenerator[Letter]:
    """Yield the letters that were there when it was asked, so that a replay which fails again ends."""
    from handlers.adapters import jetstream
    from handlers.bus.dead_letters import letters, opened

    prefix = settings(common).subject_prefix
    subjects, streams = Subjects(prefix), Streams.of(prefix)
    info = await jetstream.stream_info(nc, streams.dead_letters)
    last = info["state"]["last_seq"] if info else 0
    after = 0
    while after < last:
        chunk = await letters(
            nc, subjects, streams, tenant=tenant, stream=stream, reason=reason, after=after, limit=CHUNK
        )
        for letter in chunk:
            if letter.number <= last:
                yield await opened(letter, keys)
        if len(chunk) < CHUNK:
            return
        after = chunk[-1].number


async def _one(common: Common, nc: Client, keys: Callable[[], Keyring], number: int) -> Letter:
    from handlers.bus.dead_letters import letter, opened

    found = await letter(nc, Streams.of(settings(common).subject_prefix), number)
    if found is None:
        raise NotFound(f"There is no dead letter {number}.")
    return await opened(found, keys)


def _record(letter: Letter) -> dict[str, Any]:
    dead = letter.letter
    return {
        "number": letter.number,
        "id": dead.id,
        "time": dead.time,
        "tenant": letter.tenant,
        "stream": dead.stream,
        "sequence": dead.sequence,
        "subject": dead.subject,
        "reason": dead.reason,
        "error": dead.error,
        "headers": dict(dead.headers),
        "body": dead.body.decode(errors="replace"),
        "omitted": dead.omitted or None,
    }


def _say(record: dict[str, Any], common: Common) -> None:
    if common.as_json:
        output.lines((record,))
    elif record["error"] is None:
        print(f"{record['number']}: sent again, at {record['sequence']} of TENANT_COMMANDS.")
    else:
        print(f"{record['number']}: not sent: {record['error']}.", file=sys.stderr)
