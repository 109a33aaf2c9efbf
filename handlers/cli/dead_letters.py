"""`tenantctl dead-letters …`: messages that were given up, and what to do about them."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from handlers.cli import output
from handlers.cli.asking import agreed, operator
from handlers.cli.exits import DONE, REFUSED, Misuse
from handlers.cli.where import Common, Limit, bus, keyring, settings, store
from handlers.wire.subjects import Streams, Subjects

if TYPE_CHECKING:
    from handlers.bus.dead_letters import Letter
    from handlers.bus.letter_handling import Handling
    from handlers.cli.letter_desk import Desk

app = App(name="dead-letters", help="Messages that were given up: list, show, replay, dismiss.")

COLUMNS = ("number", "time", "tenant", "stream", "reason", "status", "message", "error.detail")
COMMON = Common()


@app.command(name="list")
async def list_letters(
    *,
    tenant: str | None = None,
    stream: str | None = None,
    reason: str | None = None,
    dismissed: bool = False,
    limit: Limit = 100,
    common: Common = COMMON,
) -> None:
    """List dead letters, oldest first; those that were dismissed only when they are asked for.

    Example: tenantctl dead-letters list --reason invalid-command

    Parameters
    ----------
    tenant
        Id of a tenant, or unknown.
    stream
        Name of the stream that the message stood in.
    reason
        Why it was given up: the name of a problem, max-deliveries, terminated, or not-in-log.
    dismissed
        List those that were dismissed, too.
    limit
        Most letters to list; 0 is all.
    """
    async with _readable(common) as desk:
        found = (
            _listed(letter, handling, as_json=common.as_json)
            async for letter, handling in desk.found(tenant, stream, reason)
            if dismissed or handling.status != "dismissed"
        )
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
    async with _readable(common) as desk:
        record = _record(*await desk.one(number))
    if common.as_json:
        output.lines((record,))
    else:
        output.fields(record)


@app.command
async def replay(
    number: int | None = None, *more: int, reason: str | None = None, common: Common = COMMON
) -> int:
    """Send the commands of dead letters again, through the durable door.

    One that was refused gets an id of its own, and names the former one in its header Replay-Of: under that,
    its refusal would be repeated. So does one that came without an id; it names the letter. Any other keeps
    its id: if it was decided meanwhile, that is its outcome.
    Exit code 1 when one cannot be sent.

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
    from handlers.bus.letter_handling import note_replay

    if (number is None) == (reason is None):
        raise Misuse("give either numbers or --reason")
    code = DONE
    async with _readable(common) as desk:
        async for letter, handling in desk.chosen((number, *more), None, reason):
            if number is None and handling.status == "dismissed":
                continue
            record: dict[str, Any] = {
                "number": letter.number,
                "sequence": None,
                "command_id": None,
                "error": None,
            }
            try:
                sent = await send(desk.nc, desk.subjects, desk.streams, letter.letter, desk.store)
            except NotReplayable as error:
                record["error"] = str(error)
                code = REFUSED
            else:
                record |= sent._asdict()
                await note_replay(desk.store, letter.letter.id, letter.tenant, operator(), sent.command_id)
            _say(record, common)
    return code


@app.command
async def dismiss(
    number: int | None = None,
    *more: int,
    tenant: str | None = None,
    reason: str | None = None,
    yes: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Dismiss dead letters that need nothing any more; who did and when stays with them.

    Example: tenantctl dead-letters dismiss 7 8 9
    Example: tenantctl dead-letters dismiss --reason unknown-command --yes

    Parameters
    ----------
    number
        Number of a letter, as in `dead-letters list`.
    more
        Numbers of more letters.
    tenant
        In place of numbers: all letters of a tenant, or of unknown.
    reason
        In place of numbers: all letters with this reason.
    yes
        Do not ask before.
    """
    from handlers.bus.letter_handling import dismiss as note

    if (number is None) == (tenant is None and reason is None):
        raise Misuse("give either numbers, or --tenant or --reason, or both of these")
    async with _readable(common) as desk:
        letters = [
            letter
            async for letter, handling in desk.chosen((number, *more), tenant, reason)
            if handling.status != "dismissed"
        ]
        if letters and not yes and not agreed(f"Dismiss {len(letters)} dead letters?"):
            return REFUSED
        for letter in letters:
            await note(desk.store, letter.letter.id, letter.tenant, operator())
    numbers = [letter.number for letter in letters]
    if common.as_json:
        output.lines({"number": each, "status": "dismissed"} for each in numbers)
    else:
        print(f"{len(numbers)} dead letters dismissed.")
    return DONE


@asynccontextmanager
async def _readable(common: Common) -> AsyncGenerator[Desk]:
    """Give what letters are read with."""
    from handlers.cli.letter_desk import Desk

    prefix = settings(common).subject_prefix
    async with bus(common) as nc, store(common) as log:
        yield Desk(nc, log, Subjects(prefix), Streams.of(prefix), lambda: keyring(common, log))


def _record(letter: Letter, handling: Handling) -> dict[str, Any]:
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
        "status": handling.status,
        **{name: str(value) for name, value in handling._asdict().items() if value is not None},
    }


def _listed(letter: Letter, handling: Handling, *, as_json: bool) -> dict[str, Any]:
    """Return a letter for a list; a table has its tenant in one column, and the rest of the subject."""
    record = _record(letter, handling)
    tokens = (token for token in letter.letter.subject.split(".") if token != letter.tenant)
    return record if as_json else {**record, "message": ".".join(tokens)}


def _say(record: dict[str, Any], common: Common) -> None:
    if common.as_json:
        output.lines((record,))
    elif record["error"] is None:
        place = f"at {record['sequence']} of TENANT_COMMANDS, as {record['command_id']}"
        print(f"{record['number']}: sent again, {place}.")
    else:
        print(f"{record['number']}: not sent: {record['error']}.", file=sys.stderr)
