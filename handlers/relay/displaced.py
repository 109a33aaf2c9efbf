"""What the stream of events held and the log has not, told as a dead letter, until somebody dismisses it.

The log's line in a process' output is gone tomorrow; that commits were lost concerns those who sent commands.
"""

from __future__ import annotations

import json
from uuid import UUID, uuid5

from handlers.adapters.jetstream import Json
from handlers.store.batch import Batch, DeadLetterRow

_LETTERS = UUID("0f3c1f2e-6b57-5f0e-8f0a-5f4f3a2b9d16")

NOT_IN_LOG = "not-in-log"
"""The reason of such a letter."""


def displaced(stream: str, info: Json, position: int) -> Batch:
    """Return the batch with the letter about what `stream` holds from `position` on; the same again is one.

    `info` is what the server says of the stream.
    """
    last = info["state"]["last_seq"]
    problem = {
        "type": "about:blank",
        "title": "The stream of events held what the log does not have",
        "detail": (
            f"{stream} held other messages at the positions {position} to {last}, stored until"
            f" {info['state']['last_ts']}, and was made anew from the log. Either the database was put back"
            " to a time before them (a failover that lost commits, a restored copy): then what commands did"
            " since is undone, and their senders should look; or a stranger published there."
        ),
    }
    row = DeadLetterRow(
        id=uuid5(_LETTERS, f"{stream}:{info['created']}:{position}:{last}"),
        tenant="unknown",
        stream=stream,
        sequence=position,
        reason=NOT_IN_LOG,
        subject="",
        headers="{}",
        body=b"",
        error=json.dumps(problem),
        group=0,
    )
    return Batch(dead_letters=[row])
