"""What operators see of a whole journey: one trace from command to read model, no secret and no person."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.mailbox import UNREACHABLE, Mailbox
from deploy.embedded import EmbeddedStack, ports
from handlers.client import TenantClient
from handlers.http_edge.tokens import OPERATOR, Signer
from handlers.store.batch import Batch, EventRow
from handlers.store.event_store import EventStore
from tenant_domain.refusals import Refusal
from tests.support.collector import Collector, attributes, collecting
from tests.support.servers import copy_folder, public_folder
from tests.support.serving import serving
from tests.support.waiting import PATIENCE, within

EMAIL, PERSON, NICKNAME = "grace.hopper@journey.example", "Grace Hopper", "Amazing-Grace"
UNREACHABLE_EMAIL = f"grace@{UNREACHABLE}"
ADMIN = {"email": EMAIL, "name": PERSON, "user_id": "usr_grace"}
COMMAND, QUERY = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
CALLER = "00f067aa0ba902b7"
LAGS = ("tenants_projection_lag_events", "tenants_relay_lag_events")


def traceparent(trace_id: str) -> str:
    return f"00-{trace_id}-{CALLER}-01"


@dataclass
class Seen:
    """What came to be seen of the journey, and what nobody may see."""

    collector: Collector
    tenant: UUID = field(default_factory=uuid4)
    operation: UUID | None = None
    command: UUID = field(default_factory=uuid4)
    secrets: list[str] = field(default_factory=list[str])
    log: str = ""
    metrics: str = ""


@pytest.fixture(scope="module")
def seen(prepared_dir: Path) -> Iterator[Seen]:
    folder = public_folder()
    copy_folder(prepared_dir, folder / "data")
    try:
        with collecting() as collector:
            seen = Seen(collector)
            asyncio.run(journey(folder, seen))
        yield seen
    finally:
        shutil.rmtree(folder)


async def journey(folder: Path, seen: Seen) -> None:
    """Two processes, two tenants, and all kinds of trouble."""
    async with AsyncExitStack() as parts:
        stack = await parts.enter_async_context(EmbeddedStack(folder / "data"))
        mailbox, port = Mailbox(), ports.choose()
        smtp_url = await mailbox.start()
        parts.push_async_callback(mailbox.stop)
        settings = {
            "TENANTS_SMTP_URL": smtp_url,
            "TENANTS_OTLP_ENDPOINT": seen.collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "TENANTS_LOG_LEVEL": "debug",
            "TENANTS_LOG_FORMAT": "json",
            "TENANTS_POLL_INTERVAL": "0.1",
        }
        log = folder / "log"
        for roles, more in (
            (("commands",), {"TENANTS_METRICS_PORT": str(port)}),
            (("sagas", "projections", "relay", "http"), {}),
        ):
            said = await parts.enter_async_context(
                serving(stack.endpoints, folder, roles, log, {**settings, **more})
            )
        signer = Signer.from_file(folder / "signing.pem", create=False, issuer="tenants", audience="tenants")
        token = signer.sign(user=EMAIL, role=OPERATOR)
        urls = (stack.endpoints.nats_url, stack.endpoints.postgres_url)
        keys = ((folder / "master.key").read_text().strip(), (folder / "signing.pem").read_text())
        seen.secrets = [
            EMAIL,
            PERSON,
            NICKNAME,
            token,
            *keys,
            *(urlsplit(url).password or "" for url in urls),
        ]
        client = await parts.enter_async_context(TenantClient.connect(stack.endpoints.nats_url))
        await provisioned(client, seen)
        await trouble(client, stack.endpoints.postgres_url, seen)
        headers = {"Authorization": f"Bearer {token}", "traceparent": traceparent(QUERY)}
        async with httpx.AsyncClient(base_url=said["http"], headers=headers, timeout=PATIENCE) as http:
            assert (await http.get("/api/v1/tenants", params={"search": PERSON})).status_code == 200
            assert (await http.get(f"/api/v1/tenants/{EMAIL}")).status_code == 422
            commands = await http.get(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": ""})
            seen.metrics = await settled(http) + commands.text
    seen.log = log.read_text()


async def settled(http: httpx.AsyncClient) -> str:
    """Return the metrics once a dead letter is counted and all readers are at the log's end."""
    async with within("all lags at 0, and a dead letter that is counted"):
        while True:
            metrics = (await http.get("/metrics")).text
            behind = [lag for name in LAGS for lag in values(metrics, name, {})]
            if "tenants_dead_letters_total{" in metrics and set(behind) == {0}:
                return metrics
            await asyncio.sleep(0.05)


async def provisioned(client: TenantClient, seen: Seen) -> None:
    body = {"name": "Journey Ltd", "subdomain": "journey", "admin": ADMIN}
    options: Any = {"command_id": seen.command, "traceparent": traceparent(COMMAND)}
    outcome = await (await client.send(seen.tenant, "provision", body, reply=True, **options)).outcome()
    operation = await outcome.operation()
    assert operation is not None
    assert operation.status == "succeeded"
    seen.operation = operation.operation_id


async def trouble(client: TenantClient, postgres_url: str, seen: Seen) -> None:
    """Refusals at every stage, a provisioning that fails, an event that cannot be folded."""
    for name, fields in (
        ("provision", {"name": PERSON, "subdomain": "journey", "admin": ADMIN}),
        ("provision", {"name": PERSON, "subdomain": EMAIL, "admin": {**ADMIN, "email": PERSON}}),
        (NICKNAME, {}),
    ):
        with pytest.raises(Refusal):
            await (await client.send(uuid4(), name, fields, reply=True)).outcome()
        with pytest.raises(Refusal):
            await client.command(uuid4(), name, fields)
    version = (await client.tenant(seen.tenant)).version
    poison = json.dumps({"v": 1, "data": {"name": {EMAIL: PERSON}}, "meta": {}}).encode()
    async with EventStore(postgres_url) as store:
        row = EventRow(seen.tenant, seen.tenant, version + 1, "tenant.profile_updated", poison, 0)
        assert not (await store.append(Batch(events=[row]))).dropped
    unreachable = {"email": UNREACHABLE_EMAIL, "name": PERSON}
    failing = await client.provision(name=PERSON, subdomain="unreachable", admin=unreachable)
    ended = await failing.operation()
    assert ended is not None
    assert ended.status == "rolled_back"


def test_one_trace_covers_command_append_saga_and_projection(seen: Seen) -> None:
    spans = seen.collector.of(COMMAND)
    by_name = {span.name: span for span in spans}
    steps = ("create_schema", "configure_defaults", "setup_admin", "notify")  # the others only record
    assert by_name.keys() >= {
        "command provision",
        "decide and append",
        *(f"step {step}" for step in steps),
        "commit saga moves",
        "publish events",
        "project events",
    }
    command = by_name["command provision"]
    assert command.parent_span_id == bytes.fromhex(CALLER)
    for step in steps:
        assert by_name[f"step {step}"].parent_span_id == command.span_id
        assert by_name[f"step {step}"].trace_id == command.trace_id
    assert attributes(command) == {
        "tenants.door": "durable",
        "tenants.command": "provision",
        "tenants.tenant_id": str(seen.tenant),
        "tenants.command_id": str(seen.command),
        "tenants.operation_id": str(seen.operation),
        "tenants.outcome": "completed",
    }
    assert attributes(by_name["step notify"])["tenants.operation_id"] == str(seen.operation)


def test_a_query_belongs_to_the_trace_of_who_asks(seen: Seen) -> None:
    fleet, refused = sorted(seen.collector.of(QUERY), key=lambda span: span.name, reverse=True)
    assert (fleet.name, attributes(fleet)) == ("query tenants", {"tenants.query": "tenants"})
    assert (refused.name, attributes(refused)) == ("query tenant", {"tenants.query": "tenant"})
    assert fleet.parent_span_id == refused.parent_span_id == bytes.fromhex(CALLER)


def test_spans_show_no_secret_and_no_person(seen: Seen) -> None:
    shown = "\n".join(map(str, seen.collector.spans))
    assert str(seen.tenant) in shown
    assert [secret for secret in seen.secrets if secret in shown] == []


def test_the_log_shows_no_secret_and_no_person(seen: Seen) -> None:
    lines = [json.loads(line) for line in seen.log.splitlines()]
    told = {line["event"] for line in lines}
    assert told >= {"ready", "dead letter", "step failed", "stream parked", "http answered"}
    assert all(seen.secrets)
    assert [secret for secret in seen.secrets if secret in seen.log] == []


def test_a_line_within_a_span_names_its_trace(seen: Seen) -> None:
    lines = [json.loads(line) for line in seen.log.splitlines()]
    failed = next(line for line in lines if line["event"] == "step failed")
    assert bytes.fromhex(failed["trace_id"]) in {span.trace_id for span in seen.collector.spans}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("tenants_commands_total", {"door": "durable", "outcome": "completed"}),
        ("tenants_command_append_seconds_count", {}),
        ("tenants_endpoint_seconds_count", {"endpoint": "provision"}),
        ("tenants_endpoint_seconds_count", {"endpoint": "tenant"}),
        ("tenants_endpoint_failures_total", {"endpoint": "provision"}),
        ("tenants_saga_step_seconds_count", {"kind": "provisioning", "step": "activate"}),
        ("tenants_operations_total", {"kind": "provisioning", "ending": "rolled_back"}),
        ("tenants_projection_parked_total", {"read_model": "tenants"}),
        ("tenants_projection_position", {"read_model": "operations"}),
        ("tenants_relay_events_total", {}),
    ],
)
def test_the_metrics_count_what_happened(seen: Seen, name: str, labels: dict[str, str]) -> None:
    assert sum(values(seen.metrics, name, labels)) > 0


@pytest.mark.parametrize("name", LAGS)
def test_the_metrics_tell_how_far_behind_readers_are(seen: Seen, name: str) -> None:
    assert set(values(seen.metrics, name, {})) == {0}


def values(metrics: str, name: str, labels: dict[str, str]) -> list[float]:
    return [
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
