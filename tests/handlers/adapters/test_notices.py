"""Notices on the bus, and by mail where a mail server is configured."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

import nats
import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from handlers.adapters.effects import EffectFailed, PermanentlyFailed
from handlers.adapters.notices import Mailer, Notices
from handlers.wire.subjects import Subjects
from tests.handlers.adapters.works import work_on
from tests.support.waiting import PATIENCE


def names_the_admin(said: bytes) -> bool:
    """Whether words of the admin's name or address are in it: longer than what ids hold by chance."""
    return any(word in said.lower() for word in (b"ada@", b"lovelace"))


class Postmaster:
    """A mail server that answers as it is told."""

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []
        self.says_to_recipient = "250 OK"
        self.says_to_data = "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.says_to_recipient.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.says_to_recipient

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.says_to_data.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.received.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        return self.says_to_data


@pytest.fixture
def postmaster() -> Postmaster:
    return Postmaster()


@asynccontextmanager
async def post_office(postmaster: Postmaster, **options: Any) -> AsyncGenerator[int]:
    """Run a mail server, and give its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(postmaster, loop=loop, **options), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def mailer(postmaster: Postmaster) -> AsyncIterator[Mailer]:
    async with post_office(postmaster) as port:
        yield Mailer.at(f"smtp://127.0.0.1:{port}", "service@tenants.example")


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Client]:
    client = await nats.connect(nats_url)
    yield client
    await client.close()


class Bus:
    """Notices on a prefix of their own."""

    def __init__(self, client: Client) -> None:
        self.client, self.subjects = client, Subjects(f"t{uuid4().hex}")

    async def publish(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        await self.client.publish(subject, body, headers=headers)
        await self.client.flush()

    async def listen(self) -> Subscription:
        subscription = await self.client.subscribe(f"{self.subjects.prefix}.notices.>")
        await self.client.flush()
        return subscription


async def test_a_ready_tenant_is_told_of_on_the_bus_without_personal_fields(bus: Client):
    work, door = work_on(), Bus(bus)
    heard = await door.listen()
    notices = Notices(door.publish, door.subjects, None)
    await notices.ready(work)
    await notices.ready(work)

    first, second = [await heard.next_msg(timeout=PATIENCE) for _ in range(2)]
    assert first.subject == f"{door.subjects.prefix}.notices.{work.tenant_id}.tenant_ready"
    assert first.headers == second.headers == {"Nats-Msg-Id": f"{work.operation.operation_id}.tenant_ready"}
    assert first.data == second.data
    assert json.loads(first.data) == {
        "notice": "tenant_ready",
        "notice_id": f"{work.operation.operation_id}.tenant_ready",
        "tenant_id": str(work.tenant_id),
        "operation_id": str(work.operation.operation_id),
        "name": "Acme Analytics",
        "subdomain": "acme",
        "plan": "professional",
        "region": "eu-central",
    }
    assert not names_the_admin(first.data)


async def test_the_admin_gets_a_mail_that_a_repeat_can_be_recognised_by(
    bus: Client, postmaster: Postmaster, mailer: Mailer
):
    work, door = work_on(), Bus(bus)
    notices = Notices(door.publish, door.subjects, mailer)
    await notices.ready(work)
    await notices.ready(work)
    first = postmaster.received[0]
    assert first["To"] == "Ada Lovelace <ada@acme.example>"
    assert first["From"] == "service@tenants.example"
    assert first["Subject"] == "Acme Analytics is ready"
    assert "acme" in first.get_content()
    identity = f"<{work.operation.operation_id}.tenant_ready@tenants.example>"
    assert [mail["Message-ID"].strip() for mail in postmaster.received] == [identity, identity]


@pytest.mark.parametrize(
    ("recipient", "data", "permanent"),
    [
        ("550 no such user", "250 OK", True),
        ("450 come back later", "250 OK", False),
        ("250 OK", "554 not this", True),
        ("250 OK", "451 busy", False),
    ],
)
async def test_a_refusal_for_good_is_not_tried_again_and_nothing_is_told_on_the_bus(
    bus: Client, postmaster: Postmaster, mailer: Mailer, recipient: str, data: str, permanent: bool
):
    postmaster.says_to_recipient, postmaster.says_to_data = recipient, data
    door = Bus(bus)
    told: list[Any] = []

    async def publish(*notice: Any) -> None:
        told.append(notice)

    with pytest.raises(EffectFailed) as failed:
        await Notices(publish, door.subjects, mailer).ready(work_on())
    assert isinstance(failed.value, PermanentlyFailed) is permanent
    assert not names_the_admin(str(failed.value).encode())
    assert told == []


@pytest.mark.parametrize(("answer", "told"), [("250 OK", "mail"), ("550 no such user", "mail, refused")])
async def test_an_export_is_told_of_by_bus_and_mail_and_a_refused_address_stops_nothing(
    bus: Client, postmaster: Postmaster, mailer: Mailer, answer: str, told: str
):
    postmaster.says_to_recipient = answer
    door, purge_at = Bus(bus), "2026-12-23T09:00:00+00:00"
    work = work_on()
    work = work._replace(operation=replace(work.operation, input={"purge_at": purge_at}))
    heard = await door.listen()
    notices = Notices(door.publish, door.subjects, mailer)
    assert await notices.export_ready(work, {"manifest_sha256": "0a"}) == ["bus", told]
    message = await heard.next_msg(timeout=PATIENCE)
    said = json.loads(message.data)
    assert message.subject == f"{door.subjects.prefix}.notices.{work.tenant_id}.export_ready"
    assert (said["manifest_sha256"], said["purge_at"]) == ("0a", purge_at)
    assert not names_the_admin(message.data)
    for mail in postmaster.received:
        assert said["href"] in mail.get_content()
        assert purge_at in mail.get_content()


async def test_a_mail_server_that_is_not_there_is_a_failure_to_be_tried_again(bus: Client):
    door = Bus(bus)
    mailer = Mailer.at("smtp://127.0.0.1:1", "service@tenants.example")
    with pytest.raises(EffectFailed) as failed:
        await Notices(door.publish, door.subjects, mailer).ready(work_on())
    assert not isinstance(failed.value, PermanentlyFailed)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_the_mailer_logs_in_where_it_has_a_name(bus: Client, postmaster: Postmaster):
    tried: list[tuple[bytes, bytes]] = []

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        tried.append((data.login, data.password))
        return AuthResult(success=True)

    options = {"authenticator": check, "auth_required": True, "auth_require_tls": False}
    async with post_office(postmaster, **options) as port:
        mailer = Mailer.at(f"smtp://us%40er:pa%3Ass@127.0.0.1:{port}", "service@tenants.example")
        door = Bus(bus)
        await Notices(door.publish, door.subjects, mailer).ready(work_on())
    assert tried == [(b"us@er", b"pa:ss")]
    assert len(postmaster.received) == 1


def test_a_mailers_url_says_host_port_and_tls():
    assert Mailer.at("smtp://mail", "a@b.example")[:2] == ("mail", 25)
    assert Mailer.at("smtps://mail", "a@b.example")[:2] == ("mail", 465)
    assert Mailer.at("smtps://mail", "a@b.example").tls
    with pytest.raises(ValueError, match="a mail server is at"):
        Mailer.at("http://mail", "a@b.example")
