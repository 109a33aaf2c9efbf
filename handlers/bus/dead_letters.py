"""Dead letters for operators: list them, look at one, send its command again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple
from uuid import UUID, uuid4

from nats.aio.client import Client
from nats.errors import BadHeaderError

from handlers.adapters import jetstream
from handlers.adapters.jetstream import StreamMessage
from handlers.adapters.keyring import Keyring
from handlers.execution.decode import command_id_of
from handlers.store.event_store import EventStore
from handlers.wire.dead_letters import (
    ERASED,
    DeadLetter,
    header_key_ids,
    known_headers,
    opened_headers,
    token,
    unpacked,
)
from handlers.wire.headers import CAUSATION_ID, COMMAND_ID, CORRELATION_ID, REPLAY_OF, REPLY_TO
from handlers.wire.sealing import key_of_body, opened_body
from handlers.wire.subjects import Streams, Subjects, is_inbox, is_tenant_id
from tenant_domain.refusals import CommandIdReused


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
    """Return a letter as it was sent, or without what was sealed, where the key is destroyed.

    `keyring` is asked for when there is something to open. Raises StoreUnavailable.
    """
    letter = found.letter
    ids = header_key_ids(letter.headers)
    if (of_body := key_of_body(letter.body)) is not None:
        ids.add(of_body)
    if not ids:
        return found
    keys = await keyring().find(ids)
    headers, body = opened_headers(letter.headers, keys), opened_body(letter.body, keys)
    if headers is None or body is None:
        return found._replace(
            letter=letter._replace(headers=known_headers(letter.headers), body=b"", omitted=ERASED)
        )
    return found._replace(letter=letter._replace(headers=headers, body=body))


class Sent(NamedTuple):
    """A command that was sent again: its sequence in the stream, and the id that it has now."""

    sequence: int
    command_id: str


async def replay(
    nc: Client,
    subjects: Subjects,
    streams: Streams,
    dead: DeadLetter,
    store: EventStore,
    *,
    new_id: Callable[[], UUID] = uuid4,
) -> Sent:
    """Send the command of an opened letter again, through the durable door.

    Where the ledger has its refusal, or another command, under its own id that would be the answer for ever;
    where it came without an id, or with one that is no UUID, it would be refused for that again. Then it gets
    an id of its own, and names the former one, or the letter. Otherwise it keeps its id: if it was decided
    meanwhile, it is not decided twice. Headers that steer the server were meant for the first time, and
    are left out, as is a Reply-To that is no inbox.
    Raises NotReplayable, StoreError, and nats-py's errors when it was not taken.
    """
    if not dead.subject.startswith(f"{subjects.prefix}.commands."):
        raise NotReplayable("it is not a command: its consumer has to take it from its stream again")
    if dead.omitted:
        raise NotReplayable(f"without its {dead.omitted} it is not what was sent")
    headers = _kept(dead.headers)
    former = command_id_of(dead.headers)
    if (
        former is None
        or dead.reason == CommandIdReused.problem
        or await _is_refused(subjects, dead, former, store)
    ):
        headers = _anew(headers, str(new_id()), dead.id if former is None else dead.headers[COMMAND_ID])
    try:
        ack = await nc.jetstream().publish(dead.subject, dead.body, stream=streams.commands, headers=headers)
    except (BadHeaderError, UnicodeEncodeError) as error:
        raise NotReplayable(f"it has a header that cannot be sent again: {error}") from error
    return Sent(ack.seq, headers[COMMAND_ID])


async def _is_refused(subjects: Subjects, dead: DeadLetter, command_id: UUID, store: EventStore) -> bool:
    """Return whether the ledger has a refusal under the id that the command came with."""
    tenant = dead.subject.removeprefix(f"{subjects.prefix}.commands.").partition(".")[0]
    if not is_tenant_id(tenant):
        return False
    key = UUID(tenant), command_id
    recorded = (await store.recorded([key])).get(key)
    return recorded is not None and recorded.position is None


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a command is sent again with."""
    kept = {name: value for name, value in headers.items() if not name.lower().startswith("nats-")}
    if not is_inbox(kept.get(REPLY_TO, "_INBOX")):
        del kept[REPLY_TO]
    return kept


def _anew(headers: Mapping[str, str], command_id: str, former: str) -> dict[str, str]:
    """Return the headers of a command that is sent again under another id; who waited has had an answer."""
    kept = {name: value for name, value in headers.items() if name.lower() not in _ONCE}
    linked = {COMMAND_ID: command_id, CAUSATION_ID: former, REPLAY_OF: former}
    return {CORRELATION_ID: former, **kept, **linked}


_ONCE = {COMMAND_ID.lower(), REPLY_TO.lower()}
"""Headers, in lower case, that a command keeps only under its own id."""


def _opened(message: StreamMessage) -> Letter | None:
    """Return the letter; None for a message that is none."""
    try:
        dead = unpacked(message.headers, message.body)
    except (KeyError, ValueError):
        return None
    return Letter(message.sequence, message.subject.split(".")[2], dead)
