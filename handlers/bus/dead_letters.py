"""Dead letters for operators: list them, look at one, send its command again."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from nats.aio.client import Client
from nats.errors import BadHeaderError

from handlers.adapters import jetstream
from handlers.adapters.jetstream import StreamMessage
from handlers.adapters.keyring import Keyring
from handlers.wire.dead_letters import ERASED, DeadLetter, token, unpacked
from handlers.wire.sealing import key_of_body, opened_body
from handlers.wire.subjects import Streams, Subjects


class Letter(NamedTuple):
    """A dead letter, its number in their stream, and its tenant's id or `unknown`."""

    number: int
    tenant: str
    letter: DeadLetter


class NotReplayable(Exception):
    """What was given up cannot be sent again from its dead letter; the message says why."""


async def letters(
    nc: Client,
    subjects: Subjects,
    streams: Streams,
    *,
    tenant: str | None = None,
    stream: str | None = None,
    reason: str | None = None,
    after: int = 0,
    limit: int = 50,
) -> list[Letter]:
    """Return up to `limit` letters behind number `after`, oldest first, of what they are asked for.

    Raises JetStreamError, and nats-py's errors.
    """
    wanted = subjects.dead(*("*" if part is None else token(part) for part in (tenant, stream, reason)))
    found: list[Letter] = []
    while len(found) < limit:
        message = await jetstream.message(nc, streams.dead_letters, after + 1, wanted)
        if message is None:
            break
        after = message.sequence
        if (letter := _opened(message)) is not None:
            found.append(letter)
    return found


async def letter(nc: Client, streams: Streams, number: int) -> Letter | None:
    """Return one letter; None when there is none of that number. Raises as `letters` does."""
    message = await jetstream.message(nc, streams.dead_letters, number)
    return None if message is None else _opened(message)


async def opened(found: Letter, keyring: Callable[[], Keyring]) -> Letter:
    """Return a letter with its body as it was sent, or omitted, where the key that sealed it is destroyed.

    `keyring` is asked for when there is something to open. Raises StoreUnavailable.
    """
    key_id = key_of_body(found.letter.body)
    if key_id is None:
        return found
    body = opened_body(found.letter.body, await keyring().find([key_id]))
    if body is None:
        return found._replace(letter=found.letter._replace(body=b"", omitted=ERASED))
    return found._replace(letter=found.letter._replace(body=body))


async def replay(nc: Client, subjects: Subjects, streams: Streams, dead: DeadLetter) -> int:
    """Send the command of an opened letter again, with its own id; return its sequence in the stream.

    It goes through the durable door. The headers that steer the server are left out: they were meant for the
    first time. A command that was decided meanwhile gives its recorded outcome. Raises NotReplayable, and
    nats-py's errors when it was not taken.
    """
    if not dead.subject.startswith(f"{subjects.prefix}.commands."):
        raise NotReplayable("it is not a command: its consumer has to take it from its stream again")
    if dead.omitted:
        raise NotReplayable(f"without its {dead.omitted} it is not what was sent")
    headers = {name: value for name, value in dead.headers.items() if not name.lower().startswith("nats-")}
    try:
        ack = await nc.jetstream().publish(dead.subject, dead.body, stream=streams.commands, headers=headers)
    except (BadHeaderError, UnicodeEncodeError) as error:
        raise NotReplayable(f"it has a header that cannot be sent again: {error}") from error
    return ack.seq


def _opened(message: StreamMessage) -> Letter | None:
    """Return the letter; None for a message that is none."""
    try:
        dead = unpacked(message.headers, message.body)
    except (KeyError, ValueError):
        return None
    return Letter(message.sequence, message.subject.split(".")[2], dead)
