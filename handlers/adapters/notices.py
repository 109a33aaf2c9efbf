"""Notices: what people are told, on the bus always and by mail where a mail server is configured.

A notice has an id that derives from its operation, the same however often it is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from email.utils import formataddr
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiosmtplib
import msgspec

from handlers.adapters.effects import EffectFailed, PermanentlyFailed, Work
from handlers.wire import headers
from handlers.wire.subjects import Subjects

Publish: TypeAlias = Callable[[str, bytes, dict[str, str]], Awaitable[None]]
"""Publishes a body with headers under a subject, and returns once the server has it."""

_READY = "tenant_ready"
_TIMEOUT = 20.0
"""Most seconds for one conversation with the mail server."""


class Mailer(NamedTuple):
    """A mail server, and the address that notices come from."""

    host: str
    port: int
    username: str | None
    password: str | None
    tls: bool
    sender: str

    @classmethod
    def at(cls, url: str, sender: str) -> Mailer:
        """Return the mailer of `smtp://user:password@host:port`, or `smtps://…` (TLS from the start)."""
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("a mail server is at smtp://host:port or smtps://host:port")
        tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=parts.port or (465 if tls else 25),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=tls,
            sender=sender,
        )


class Notices:
    """Sends notices."""

    def __init__(self, publish: Publish, subjects: Subjects, mailer: Mailer | None) -> None:
        self._publish, self._subjects, self._mailer = publish, subjects, mailer

    async def ready(self, work: Work) -> None:
        """Tell that the tenant is ready: first its admin, since a refused address undoes the tenant."""
        operation_id, tenant = work.operation.operation_id, work.tenant
        if self._mailer is not None:
            await _mail(self._mailer, _welcome(self._mailer, work))
        body = {
            "notice": _READY,
            "notice_id": _id(operation_id),
            "tenant_id": work.tenant_id,
            "operation_id": operation_id,
            "name": tenant.name,
            "subdomain": tenant.subdomain,
            "plan": tenant.plan,
            "region": tenant.region,
        }
        subject = self._subjects.notice(work.tenant_id, _READY)
        await self._publish(subject, msgspec.json.encode(body), {headers.MSG_ID: _id(operation_id)})


def _id(operation_id: UUID) -> str:
    return f"{operation_id}.{_READY}"


def _welcome(mailer: Mailer, work: Work) -> EmailMessage:
    tenant = work.tenant
    message = EmailMessage()
    message["From"] = mailer.sender
    message["To"] = formataddr((tenant.admin.name, tenant.admin.email))
    message["Subject"] = f"{tenant.name} is ready"
    message["Message-ID"] = f"<{_id(work.operation.operation_id)}@{mailer.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(
        f"Hello {tenant.admin.name},\n\n"
        f"{tenant.name} is ready under the subdomain {tenant.subdomain}. You are its owner.\n"
    )
    return message


async def _mail(mailer: Mailer, message: EmailMessage) -> None:
    try:
        await aiosmtplib.send(
            message,
            hostname=mailer.host,
            port=mailer.port,
            username=mailer.username,
            password=mailer.password,
            use_tls=mailer.tls,
            timeout=_TIMEOUT,
        )
    except aiosmtplib.SMTPRecipientsRefused as refused:
        raise _failure([each.code for each in refused.recipients]) from None
    except (aiosmtplib.SMTPDataError, aiosmtplib.SMTPSenderRefused) as refused:
        raise _failure([refused.code]) from None
    except (aiosmtplib.SMTPException, OSError) as error:
        raise EffectFailed(f"The mail server could not be used ({type(error).__name__}).") from None


def _failure(codes: list[int]) -> EffectFailed:
    """Return the failure that reply codes mean: 5xx will be said again, 4xx asks to come back."""
    if all(500 <= code <= 599 for code in codes):  # RFC 5321, section 4.2.1
        return PermanentlyFailed(f"The mail server refused the notice for good ({codes[0]}).")
    return EffectFailed(f"The mail server did not take the notice ({codes[0]}).")
