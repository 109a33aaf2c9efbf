"""What was decided on one command, until the append says whether it holds."""

from __future__ import annotations

from uuid import UUID

from handlers.adapters.keyring import TenantKeys
from handlers.execution.decode import Request
from handlers.execution.job import Job
from handlers.execution.reply import Reply
from handlers.wire.outcomes import rejected, rendered
from tenant_domain.refusals import Refusal


class Verdict:
    """What was decided on `job`, the member of its attempt with this number.

    `facts` are (stream, version, stored name, body) of its events, `agenda` the kinds of the operations
    that they belong to, `keys` what they were sealed with. `recorded` is what the ledger keeps. `refusal` is
    the caller's reply when the command is refused; `first` is the same command earlier in the batch, whose
    outcome this one shares.
    """

    __slots__ = (
        "agenda",
        "facts",
        "first",
        "job",
        "keys",
        "member",
        "operation_id",
        "recorded",
        "refusal",
        "reply",
    )

    def __init__(self, job: Job, member: int) -> None:
        self.job = job
        self.member = member
        self.keys: TenantKeys | None = None
        self.facts: list[tuple[UUID, int, str, bytes]] = []
        self.agenda: dict[UUID, str] = {}
        self.operation_id: UUID | None = None
        self.recorded: bytes | None = None
        self.refusal: Reply | None = None
        self.first: Verdict | None = None
        self.reply: Reply | None = None

    def know(self, reply: Reply | None) -> None:
        """Answer with `reply`, whatever the append says."""
        self.reply = reply
        self.refusal = reply if reply is not None and reply.problem is not None else None

    def refuse(self, request: Request, refusal: Refusal) -> None:
        """Answer with a refusal, which is recorded when it is by the tenant's state; nothing else follows."""
        self.facts, self.agenda, self.keys = [], {}, None
        body = rejected(request.command_id, request.tenant_id, refusal)
        self.know(Reply(body, refusal.status, refusal.problem))
        if refusal.recorded:
            self.recorded = body

    def concluded(self, position: int | None) -> Reply:
        """Return the reply, now that what was decided holds; `position` is that of its row in the ledger."""
        if self.first is not None:
            self.reply = self.first.reply
        elif self.recorded is not None and self.refusal is None:
            self.reply = Reply(rendered(self.recorded, position), operation_id=self.operation_id)
        assert self.reply is not None
        return self.reply
