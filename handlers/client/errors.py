"""What the client raises besides the domain's refusals.

Refusal                     the service said no (`tenant_domain.refusals`); Unavailable and RateLimited only
                            after they were waited out for as long as the call may take
NoAnswer (TimeoutError)     nobody knows yet whether it was done: ask for the outcome, or send it again
NotAccepted                 the stream refused a durable command: nothing was stored
PositionsGone               the stream of events begins later than what was asked for
EventsReplaced              the service lost events that were delivered: others have their positions
InvalidArgument (ValueError)  the call makes no sense: nothing was sent
ClientClosed (RuntimeError)   the connection was closed by its owner
"""

from __future__ import annotations

from uuid import UUID


class NoAnswer(TimeoutError):
    """No answer came in time; of a command `command_id` tells it apart, of a query it is None."""

    def __init__(self, detail: str, *, tenant_id: UUID | None = None, command_id: UUID | None = None) -> None:
        super().__init__(detail)
        self.tenant_id = tenant_id
        self.command_id = command_id

    @classmethod
    def to(cls, tenant_id: UUID, command_id: UUID, timeout: float) -> NoAnswer:
        """Return the error for a command whose outcome is not known."""
        detail = (
            f"No outcome in {timeout:g} s; it may still be done. Ask `outcome({str(tenant_id)!r}, "
            f"{str(command_id)!r})`, or send it again with this command_id: it is done once."
        )
        return cls(detail, tenant_id=tenant_id, command_id=command_id)


class InvalidArgument(ValueError):
    """What a call was given cannot be meant; the message names it and says what fits. Nothing was sent."""


class ClientClosed(RuntimeError):
    """The client is used after its connection was closed."""

    def __init__(self) -> None:
        super().__init__(
            "The client's connection is closed: use it inside `async with TenantClient.connect(…)`,"
            " or on a connection that is open."
        )


class NotAccepted(Exception):
    """The stream did not store the command; `code` is JetStream's, `description` its reason."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(
            f"The stream did not store the command: {description} ({code}). Nothing was done; "
            "a stream that is full takes it later."
        )
        self.code = code
        self.description = description


class PositionsGone(LookupError):
    """The stream does not hold the position any more; `first` is the first that it has."""

    def __init__(self, stream: str, wanted: int, first: int) -> None:
        super().__init__(
            f"{stream} begins at position {first}, not at {wanted}. Read what is missing by the query "
            f"`history`, have an operator rebuild the stream, or subscribe from {first}."
        )
        self.wanted = wanted
        self.first = first


class EventsReplaced(LookupError):
    """An event that was delivered is no more: the service's database lost it, and other events are there now.

    `position` is that of the last one delivered, `id` its id.
    """

    def __init__(self, stream: str, position: int, id: str) -> None:
        super().__init__(
            f"{stream} does not hold the event {id} at position {position} any more: the service's database"
            " was restored, or failed over, without its last events. Undo what came of those that are no more"
            " (their ids are in nobody's history), and subscribe from before them."
        )
        self.position = position
        self.id = id
