"""Header names of commands and events (CONTRACT, version 1; CloudEvents 1.0, NATS binding, binary mode)."""

from __future__ import annotations

COMMAND_ID = "Command-Id"
REPLY_TO = "Reply-To"
EXPECTED_VERSION = "Expected-Version"
ACTOR = "Actor"
CORRELATION_ID = "Correlation-Id"
CAUSATION_ID = "Causation-Id"
REPLAY_OF = "Replay-Of"
"""Of a command that was sent again from its dead letter under an id of its own: the id that it had before, or
the letter's where it had none."""
TRACEPARENT = "traceparent"

OF_COMMANDS = frozenset((COMMAND_ID, REPLY_TO, EXPECTED_VERSION, ACTOR, CORRELATION_ID, CAUSATION_ID))
"""Headers of a command that are obeyed or refused, never passed over: written like this, and once."""


class Received(dict[str, str]):
    """Headers of a message as they came. Of those that stood there more than once it has the last value."""

    repeated: frozenset[str] = frozenset()
    """The names of those."""


MSG_ID = "Nats-Msg-Id"
EXPECTED_LAST_SEQUENCE = "Nats-Expected-Last-Sequence"
EXPECTED_LAST_MSG_ID = "Nats-Expected-Last-Msg-Id"
ERROR_CODE = "Nats-Service-Error-Code"
ERROR = "Nats-Service-Error"
NOT_TAKEN = "Tenants-Not-Taken"
"""Between our own workers: the command is not known here, so its door decides it."""

CE_SPECVERSION = "ce-specversion"
CE_ID = "ce-id"
CE_SOURCE = "ce-source"
CE_TYPE = "ce-type"
CE_SUBJECT = "ce-subject"
CE_TIME = "ce-time"
CE_DATACONTENTTYPE = "ce-datacontenttype"
CE_POSITION = "ce-position"
CE_STREAMVERSION = "ce-streamversion"
CE_SCHEMAVERSION = "ce-schemaversion"
CE_CORRELATIONID = "ce-correlationid"
CE_CAUSATIONID = "ce-causationid"
CE_ACTOR = "ce-actor"
CE_TRACEPARENT = "ce-traceparent"
CE_DATAREF = "ce-dataref"
"""Where the content of an event is that its message does not carry (CloudEvents' extension `dataref`)."""
