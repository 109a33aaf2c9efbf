"""The same body gets the same answer at the HTTP and at the NATS door, whatever stands in it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import nats
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from handlers.client import TenantClient
from tenant_domain.registry import COMMANDS
from tests.journeys.conftest import Running

NOTHING_DONE = sorted(set(COMMANDS) - {"update_profile"})
"""Given with fields of the profile's, they are refused: nothing but the profile changes here."""

ODD = (
    *(
        "",
        " ",
        "é",
        "e\u0301",
        "\u202e",
        "\u200b",
        "\ud800",
        "\0",
        "\u2028",
        "\uffff",
        "sealed:x",
        "__proto__",
    ),
    *("a" * 200, "a" * 201, "\U0001f469" * 200, "0" * 63),
)
RAW = (
    *(
        b"",
        b" ",
        b"null",
        b"[]",
        b"1",
        b'"x"',
        b"{",
        b"{}x",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'{"name":"\xc0\x80"}',
    ),
    *(b'{"name":"a","name":"b"}', b'{"name":"a","n\\u0061me":"b"}', b'{"name":"\\ud83d"}', b'{"name":"a"}\0'),
    *(
        b'{"settings":{"a":%b}}' % number
        for number in (b"1e400", b"NaN", b"01", b"-0.0", b"9" * 4400, b"1e-400")
    ),
    *(
        b'{"settings":{"a":%b}}' % str(2**power + extra).encode()
        for power in (53, 63, 64)
        for extra in (-1, 0, 1)
    ),
    *(b'{"settings":{"a":%b1%b}}' % (b"[" * deep, b"]" * deep) for deep in (30, 31, 32, 1000, 60_000)),
)

texts = st.sampled_from(ODD) | st.text(max_size=10)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(sorted({field for spec in COMMANDS.values() for field in spec.form.model_fields}))
objects = st.dictionaries(fields | texts, values, max_size=3)
bodies = st.sampled_from(RAW) | objects.map(lambda body: json.dumps(body).encode())


class Doors(NamedTuple):
    """The two doors, of one tenant."""

    http: httpx.AsyncClient
    bus: Client
    tenant: str

    async def over_http(self, command: str, body: bytes) -> tuple[int, Any]:
        """Return status, and problem with its errors, of a command over HTTP."""
        answer = await self.http.post(f"/api/v1/tenants/{self.tenant}/commands/{command}", content=body)
        return answer.status_code, _problem(answer.json()) if answer.status_code >= 400 else None

    async def over_nats(self, command: str, body: bytes) -> tuple[int, Any]:
        """Return the same of the command on the bus's answered door."""
        reply = await self.bus.request(f"tenants.rpc.{self.tenant}.{command}", body, timeout=60)
        error = json.loads(reply.data).get("error")
        return (error["status"], _problem(error)) if error else (200, None)


def _problem(document: dict[str, Any]) -> tuple[str, Any]:
    return document["type"], document.get("errors")


@pytest.fixture
async def doors(service: Running, tenants: TenantClient) -> Any:
    token = {"Authorization": f"Bearer {service.at.admin_token}", "Content-Type": "application/json"}
    admin = {"email": "ada@acme.example", "name": "Ada"}
    made = await tenants.provision(name="Odd", subdomain=f"odd-{uuid4().hex[:12]}", admin=admin)
    assert made.operation_id is not None
    await tenants.wait_for_operation(made.tenant_id, made.operation_id, timeout=60)
    async with (
        httpx.AsyncClient(base_url=service.at.http, headers=token, timeout=60) as http,
        await nats.connect(service.at.nats) as bus,
    ):
        yield Doors(http, bus, str(made.tenant_id))


async def same(doors: Doors, command: str, body: bytes) -> None:
    """Fail unless both doors say the same, and blame nobody but the caller."""
    http, bus = await doors.over_http(command, body), await doors.over_nats(command, body)
    assert http == bus
    assert http[0] < 500


async def test_what_is_hardly_json_is_answered_alike(doors: Doors) -> None:
    for body in RAW:
        await same(doors, "update_profile", body)
    whole = {field: {text: text} for field in ("metadata", "settings") for text in ODD}
    for text in ODD:
        for body in ({"name": text}, {"metadata": {text: text}}, {"settings": {text: [text]}}, whole):
            await same(doors, "update_profile", json.dumps(body).encode())


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(command=st.just("update_profile") | st.sampled_from(NOTHING_DONE), body=bodies)
async def test_whatever_is_sent_is_answered_alike(doors: Doors, command: str, body: bytes) -> None:
    await same(doors, command, body)
