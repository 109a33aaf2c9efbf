"""A copy of a stream as it was, and a stream put back to it, as an operator's backup would."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json
from tests.support.waiting import PATIENCE


class Copy(NamedTuple):
    """A stream's configuration, state, and files in parts."""

    config: Json
    state: Json
    parts: list[bytes]


async def copied(nc: Client, stream: str) -> Copy:
    """Return a copy of a stream as it is, without its consumers."""
    inbox = nc.new_inbox()
    parts = await nc.subscribe(inbox)
    wanted = {"deliver_subject": inbox, "no_consumers": True, "chunk_size": 64 * 1024}
    told = await jetstream.call(nc, f"STREAM.SNAPSHOT.{stream}", wanted)
    found: list[bytes] = []
    while (part := await parts.next_msg(timeout=PATIENCE)).data:
        found.append(part.data)
        if part.reply:
            await part.respond(b"")
    await parts.unsubscribe()
    return Copy(told["config"], told["state"], found)


async def put_back(nc: Client, stream: str, copy: Copy) -> None:
    """Delete a stream, and make it again as it was copied. Its time of creation is another one."""
    await jetstream.call(nc, f"STREAM.DELETE.{stream}")
    told = await jetstream.call(nc, f"STREAM.RESTORE.{stream}", {"config": copy.config, "state": copy.state})
    for part in copy.parts:
        await nc.request(told["deliver_subject"], part, timeout=PATIENCE)
    answer = await nc.request(told["deliver_subject"], b"", timeout=PATIENCE)
    assert msgspec.json.decode(answer.data)["state"]["last_seq"] == copy.state["last_seq"]
