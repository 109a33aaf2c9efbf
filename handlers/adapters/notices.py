"""Notices: what people are told, on the bus always and by mail where a mail server is configured.

A notice has an id that derives from its operation, the same however often it is sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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
from tenant_domain.values import Json

Publish: TypeAlias = Callable[[str, bytes, dict[str, str]], Awaitable[None]]
"""Publishes a body with headers under a subject, and returns once the server has it."""

_READY = "tenant_ready"
_EXPORT = "export_ready"
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
        tenant = work.tenant
        if self._mailer is not None:
            await _mail(self._mailer, _letter(self._mailer, work, _READY, *_welcome(work)))
        facts = {"plan": tenant.plan, "region": tenant.region}
        await self._tell(work, _READY, {"name": tenant.name, "subdomain": tenant.subdomain, **facts})

    async def export_ready(self, work: Work, export: Mapping[str, Json]) -> list[str]:
        """Tell where the tenant's export is, before its data goes; returns what came of each channel.

        An address that is refused for good does not stop the tenant's end.
        """
        purge_at = str(work.operation.input["purge_at"])
        where = f"/api/v1/tenants/{work.tenant_id}/export"
        await self._tell(work, _EXPORT, {**export, "href": where, "purge_at": purge_at})
        told = ["bus"]
        if self._mailer is not None:
            letter = _letter(self._mailer, work, _EXPORT, *_farewell(work, where, purge_at))
            try:
                await _mail(self._mailer, letter)
                told.append("mail")
            except PermanentlyFailed:
                told.append("mail, refused")
        return told

    async def _tell(self, work: Work, notice: str, fields: Mapping[str, Json]) -> None:
        notice_id = _id(work.operation.operation_id, notice)
        body = {
            "notice": notice,
            "notice_id": notice_id,
            "tenant_id": work.tenant_id,
            "operation_id": work.operation.operation_id,
            **fields,
        }
        subject = self._subjects.notice(work.tenant_id, notice)
        await self._publish(subject, msgspec.json.encode(body), {headers.MSG_ID: notice_id})


def _id(operation_id: UUID, notice: str) -> str:
    return f"{operation_id}.{notice}"


def _letter(mailer: Mailer, work: Work, notice: str, subject: str, text: str) -> EmailMessage:
    admin, operation_id = work.tenant.admin, work.operation.operation_id
    message = EmailMessage()
    message["From"] = mailer.sender
    message["To"] = formataddr((admin.name, admin.email))
    message["Subject"] = subject
    message["Message-ID"] = f"<{_id(operation_id, notice)}@{mailer.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"Hello {admin.name},\n\n{text}\n")
    return message


def _welcome(work: Work) -> tuple[str, str]:
    tenant = work.tenant
    text = f"{tenant.name} is ready under the subdomain {tenant.subdomain}. You are its owner."
    return f"{tenant.name} is ready", text


def _farewell(work: Work, where: str, purge_at: str) -> tuple[str, str]:
    name = work.tenant.name
    text = (
        f"{name} is out of service, and its data will be destroyed at {purge_at}.\n"
        f"Until then all of it can be fetched, as an owner or admin of it: from {where},\n"
        f"or with `tenantctl tenants export {work.tenant_id} --to <folder>`."
    )
    return f"The data of {name}, before it is destroyed", text


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
    except aiosmtplib.SMTPDataError as refused:
        raise _failure([refused.code]) from None
    except aiosmtplib.SMTPSenderRefused as refused:
        raise _failure([refused.code], "the sender TENANTS_SMTP_SENDER") from None
    except aiosmtplib.SMTPAuthenticationError as refused:
        said = f"does not take the user and password of TENANTS_SMTP_URL ({refused.code})"
        raise EffectFailed(f"The mail server {mailer.host}:{mailer.port} {said}.") from None
    except (aiosmtplib.SMTPException, OSError) as error:
        where = f"The mail server {mailer.host}:{mailer.port} of TENANTS_SMTP_URL"
        raise EffectFailed(f"{where} could not be used ({type(error).__name__}).") from None


def _failure(codes: list[int], what: str = "the notice") -> EffectFailed:
    """Return the failure that reply codes mean: 5xx will be said again, 4xx asks to come back."""
    if all(500 <= code <= 599 for code in codes):  # RFC 5321, section 4.2.1
        return PermanentlyFailed(f"The mail server refused {what} for good ({codes[0]}).")
    return EffectFailed(f"The mail server did not take {what} ({codes[0]}).")
