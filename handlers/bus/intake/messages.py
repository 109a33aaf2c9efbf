"""From a message of the durable door to a command that can be settled, or its refusal."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import msgspec
import structlog

from handlers import tracing
from handlers.bus.intake.feed import Delivery
from handlers.bus.replies import Replies
from handlers.execution.decode import command_id_of, decoded
from handlers.execution.job import Job, Origin
from handlers.execution.reply import Reply, problem_of, refused
from handlers.execution.spans import followed
from handlers.execution.versions import unknown_keys
from handlers.wire.headers import REPLY_TO
from handlers.wire.subjects import Subjects, is_inbox, is_tenant_id
from tenant_domain.refusals import Refusal, Unavailable

log = structlog.get_logger()

FAILED = "failed"
"""Why a command is a dead letter that failed for a technical reason until its tries were used up."""


def job_of(delivery: Delivery, stream: str, subjects: Subjects, replies: Replies) -> Job:
    """Return what a message of the stream `stream` asks for; its outcome goes to whom it names."""
    message = delivery.message
    headers = message.headers or {}
    subject = subjects.door(message.subject)
    tenant, command = subject.split(".")[-2:]
    origin = Origin(
        stream=stream,
        sequence=delivery.sequence,
        stored_at=delivery.stored_at,
        tenant=tenant if is_tenant_id(tenant) else "unknown",
        subject=subject,
        headers=headers,
        body=message.data,
    )
    inbox = headers.get(REPLY_TO, "")
    done = partial(replies.send, inbox) if inbox and is_inbox(inbox) else _nobody_asked
    try:
        request = decoded(tenant, command, headers, message.data, durable=True, new_id=_no_id)
    except Refusal as refusal:
        return Job(done, reply=refused(command_id_of(headers), tenant, refusal), origin=origin)
    except Exception as error:
        log.exception("command cannot be decoded", sequence=delivery.sequence, error=type(error).__name__)
        why = Unavailable(f"The command cannot be decoded ({type(error).__name__}).")
        job = Job(done, origin=origin)
        job.know(refused(command_id_of(headers), tenant, why), FAILED)
        return job
    if tracing.on:
        request, done = followed(request, done, "durable")
    return Job(done, request=request, origin=origin)


def not_known(job: Job) -> list[str]:
    """Return what of a refused command another version may know: see `versions.unknown_keys`."""
    if job.reply is None or job.origin is None or job.reply.problem is None:
        return []
    errors: list[dict[str, str]] = msgspec.json.decode(problem_of(job.reply)).get("errors", [])
    return unknown_keys(job.origin.subject.rpartition(".")[2], job.reply.problem, errors)


def _nobody_asked(_reply: Reply) -> None: ...


def _no_id() -> UUID:
    raise AssertionError("a durable command without an id is refused")
