"""Service discovery, as nats-py's own client of the micro protocol reads it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.service import EndpointConfig, ServiceConfig, ServiceInfo, ServicePing, ServiceStats

from handlers.bus.discovery import Discovery
from handlers.bus.endpoints import Endpoint
from handlers.bus.queries import QueryDoor
from handlers.wire.subjects import Subjects
from projections.registry import QUESTIONS
from tests.support.readside import ReadSide
from tests.support.waiting import PATIENCE, soon


@pytest.fixture
def name() -> str:
    return f"tenants-{uuid4().hex}"


@pytest.fixture
async def nc(nats_url: str) -> AsyncIterator[Client]:
    client = await nats.connect(nats_url)
    yield client
    await client.close()


@pytest.fixture
async def discovery(side: ReadSide, nc: Client, name: str) -> AsyncIterator[Discovery]:
    door = QueryDoor(nc, side.queries, Subjects(f"t{uuid4().hex}"))
    rpc = Endpoint("rpc-suspend", "tenants.rpc.*.suspend", "commands", "Suspend.", {"type": "object"}, {})
    opened = Discovery(nc, [*door.endpoints, rpc], service_id="one", version="1.2.3", name=name)
    await opened.start()
    yield opened
    await opened.stop()


async def ask(nc: Client, subject: str) -> dict[str, Any]:
    return msgspec.json.decode((await nc.request(subject, b"", timeout=PATIENCE)).data)


@pytest.mark.parametrize("tail", ["", ".one"])
async def test_ping_tells_who_is_there(discovery: Discovery, nc: Client, name: str, tail: str) -> None:
    answer = await ask(nc, f"$SRV.PING.{name}{tail}")
    assert ServicePing.from_dict(answer).to_dict() == answer
    assert answer["type"] == "io.nats.micro.v1.ping_response"
    assert (answer["name"], answer["id"], answer["version"]) == (name, "one", "1.2.3")


async def test_ping_to_all_is_answered_too(discovery: Discovery, nc: Client, name: str) -> None:
    answers: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = nc.new_inbox()
    await nc.subscribe(inbox, cb=answers.put)
    await nc.publish("$SRV.PING", reply=inbox)
    while msgspec.json.decode((await soon(answers.get())).data)["name"] != name:
        pass


async def test_info_names_every_query_with_its_schemas(discovery: Discovery, nc: Client, name: str) -> None:
    answer = await ask(nc, f"$SRV.INFO.{name}")
    assert ServiceInfo.from_dict(answer).to_dict() == answer
    ServiceConfig(name=answer["name"], version=answer["version"])  # refuses names that are none
    endpoints = {endpoint["name"]: endpoint for endpoint in answer["endpoints"]}
    assert len(endpoints) == len(QUESTIONS) + 1
    assert endpoints["rpc-suspend"]["queue_group"] == "commands"
    assert endpoints["fleet-tenants"]["subject"].endswith(".queries.fleet.tenants")
    assert endpoints["tenant"]["subject"].endswith(".queries.*.tenant")
    for endpoint in answer["endpoints"]:
        EndpointConfig(name=endpoint["name"], subject=endpoint["subject"], handler=_nothing)
        assert all(isinstance(value, str) for value in endpoint["metadata"].values())
    request = msgspec.json.decode(endpoints["fleet-tenants"]["metadata"]["request_schema"])
    assert {"search", "status", "plan", "cursor", "limit", "min_position"} <= set(request["properties"])
    response = msgspec.json.decode(endpoints["operation"]["metadata"]["response_schema"])
    assert {"steps", "kind", "position"} <= set(response["$defs"]["OperationAnswer"]["properties"])


async def _nothing(_: object) -> None: ...


async def test_stats_count_what_every_endpoint_did(discovery: Discovery, nc: Client, name: str) -> None:
    answer = await ask(nc, f"$SRV.STATS.{name}.one")
    assert ServiceStats.from_dict(answer).to_dict() == answer
    assert {endpoint["num_requests"] for endpoint in answer["endpoints"]} == {0}


async def test_others_and_unknown_verbs_are_not_answered(discovery: Discovery, nc: Client, name: str) -> None:
    """Nor is what asks for its answer at a subject that is no inbox."""
    got: asyncio.Queue[Msg] = asyncio.Queue()
    await nc.subscribe(f"{name}.>", cb=got.put)
    inbox = nc.new_inbox()

    async def answered(msg: Msg) -> None:
        if "Status" not in (msg.headers or {}):  # the server's own: nobody listens
            got.put_nowait(msg)

    await nc.subscribe(inbox, cb=answered)
    await nc.publish(f"$SRV.PING.{name}", reply=f"{name}.elsewhere")
    for subject in (f"$SRV.PING.{name}.two", "$SRV.PING.another", f"$SRV.NONE.{name}"):
        await nc.publish(subject, reply=inbox)
    await ask(nc, f"$SRV.PING.{name}.one")
    await nc.flush()
    assert got.empty()
