"""Who reaches what over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from litestar.types import ASGIApp

from handlers.execution.bulk import BULK
from handlers.http_edge.access import access_to_command, access_to_query
from handlers.http_edge.routes import API, OPEN, ROUTES, Route
from handlers.http_edge.tenants import Doors
from handlers.http_edge.tokens import Signer
from tenant_domain.authorisation import OPERATORS
from tenant_domain.tenant.events import AccessClosed, AccessOpened
from tests.support.edge import Service, at, client, edge, wish
from tests.support.waiting import within

OWN = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"
OTHER = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c11"
NAMES = {"operation_id": OTHER, "command_name": "resume", "query_name": "tenant"}

EVERYTHING = [
    ("GET", API),
    ("POST", API),
    *((route.method, route.path.replace(":str", "")) for route in ROUTES),
    ("GET", "/nowhere"),
    ("GET", "/"),
    ("PATCH", API),
    ("OPTIONS", API),
    ("GET", "//health"),
    ("GET", "/health/"),
    ("GET", "/metrics/../api/v1/tenants"),
    ("GET", "/openapi.json/"),
    ("GET", "/console"),
]


@pytest.fixture(scope="module")
def app(signer: Signer) -> ASGIApp:
    """An edge whose doors fail the test when anything gets through."""

    async def never(*_: Any) -> Any:
        raise AssertionError

    return edge(Doors(never, never, uuid4, never), signer)


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
async def test_without_a_token_only_the_open_routes_answer(app: ASGIApp, method: str, path: str) -> None:
    async with client(app) as nobody:
        answer = await nobody.request(method, path.format(tenant_id=OWN, **NAMES))
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="tenants"'
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", [*sorted(OPEN), "/problems/forbidden"])
async def test_an_open_route_answers_anybody(app: ASGIApp, path: str) -> None:
    async with client(app, "a token that is none") as nobody:
        assert (await nobody.get(path)).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer x", "Basic b3BzOm9wcw==", "bearer\tx", "Bearer a.b.c", "Token x"],
)
async def test_what_is_no_token_is_refused(app: ASGIApp, authorization: str) -> None:
    async with client(app) as nobody:
        answer = await nobody.get(API, headers={"Authorization": authorization})
    assert answer.status_code == 401


async def test_a_token_that_is_not_valid_is_called_so(app: ASGIApp) -> None:
    async with client(app, "a.b.c") as nobody:
        answer = await nobody.get(API)
    assert answer.headers["www-authenticate"] == 'Bearer realm="tenants", error="invalid_token"'


async def test_two_tokens_are_none(app: ASGIApp, signer: Signer) -> None:
    token = f"Bearer {signer.sign(user='ops', role='operator')}"
    async with client(app) as nobody:
        answer = await nobody.get(API, headers=[("Authorization", token), ("Authorization", token)])
    assert answer.status_code == 401


@pytest.mark.parametrize(("method", "path"), EVERYTHING[:-10])
@pytest.mark.parametrize("role", ["owner", "viewer", "operator"])
async def test_a_tenants_token_reaches_no_other_tenant(
    app: ASGIApp, signer: Signer, method: str, path: str, role: str
) -> None:
    async with client(app, signer.sign(user="eve", role=role, tenant=OWN)) as eve:
        for target in (OTHER, OWN.upper(), "fleet", f"{OWN}%20", "*"):
            answer = await eve.request(method, path.format(tenant_id=target, **NAMES))
            everybody = target == "fleet" or path == API
            expected = (403, "forbidden") if everybody else (404, "tenant-not-found")
            assert (answer.status_code, answer.json()["type"]) == (expected[0], f"/problems/{expected[1]}")


@pytest.mark.parametrize("role", ["viewer", "auditor", "operator"])
@pytest.mark.parametrize(("method", "path"), [pair for pair in EVERYTHING[2:-10] if pair[0] != "GET"])
async def test_who_only_reads_commands_nothing(
    app: ASGIApp, signer: Signer, role: str, method: str, path: str
) -> None:
    async with client(app, signer.sign(user="eve", role=role, tenant=OWN)) as eve:
        answer = await eve.request(method, path.format(tenant_id=OWN, **NAMES))
    expected = "unknown-command" if path.endswith("/switch") else "forbidden"
    assert answer.json()["type"] == f"/problems/{expected}"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_what_a_route_stands_for_says_who_may_ask_for_it(route: Route) -> None:
    if route.name is None:
        return  # any command or query, by its name: each is in the table of the domain's tests
    access = access_to_command if route.kind == "command" else access_to_query
    planned = {"switch_context", "members", "usage"}  # CONTRACT; unknown here until they come with a rule
    assert (access(OWN, route.name) is None) == (route.name in planned)


@pytest.mark.parametrize("command", sorted(BULK))
def test_many_operations_are_for_operators(command: str) -> None:
    access = access_to_command("fleet", command)
    assert access is not None
    assert access.roles == OPERATORS
    assert access_to_command(OWN, command) is None


async def in_service(service: Service, signer: Signer, subdomain: str) -> str:
    """Make a tenant that is active, and return its id."""
    async with client(edge(service.doors, signer), signer.sign(user="ops", role="operator")) as operator:
        outcome = (await operator.post(API, json=wish(subdomain))).json()
    await service.finish_provisioning(outcome["tenant_id"], outcome["operation_id"])
    return outcome["tenant_id"]


async def test_an_owner_ends_his_own_suspension_and_hears_who_made_another(
    service: Service, signer: Signer
) -> None:
    real = edge(service.doors, signer)
    operator = client(real, signer.sign(user="ops", role="operator"))
    tenant = await in_service(service, signer, "own-pause")
    own = f"{API}/{tenant}"
    owner = client(real, signer.sign(user="ada", role="owner", tenant=tenant))
    async with owner, operator:
        paused = await owner.post(f"{own}/suspend", json={"reason": "Holidays."})
        assert paused.status_code == 202
        busy = await owner.post(f"{own}/resume")
        assert busy.json()["type"] == "/problems/operation-in-progress"
        await service.finish(tenant, AccessClosed(operation_id=paused.json()["operation_id"]))
        assert (await owner.get(f"{own}/history")).status_code == 403
        resumed = await owner.post(f"{own}/resume")
        assert resumed.status_code == 202
        await service.finish(tenant, AccessOpened(operation_id=resumed.json()["operation_id"]))

        closed = await operator.post(f"{own}/suspend", json={"reason": "It sends spam."})
        await service.finish(tenant, AccessClosed(operation_id=closed.json()["operation_id"]))
        refused = await owner.post(f"{own}/resume")
        assert refused.status_code == 403
        told = refused.json()
        assert (told["type"], told["by"], told["reason"]) == (
            "/problems/forbidden",
            "operator",
            "It sends spam.",
        )
        assert (await operator.post(f"{own}/resume")).status_code == 202


async def test_a_member_reaches_nothing_of_its_tenants_end(service: Service, signer: Signer) -> None:
    real = edge(service.doors, signer)
    operator = client(real, signer.sign(user="ops", role="operator"))
    tenant = await in_service(service, signer, "held")
    own = f"{API}/{tenant}"
    owner = client(real, signer.sign(user="ada", role="owner", tenant=tenant))
    member = client(real, signer.sign(user="bob", role="member", tenant=tenant))
    async with operator, owner, member:
        held = await operator.post(f"{own}/commands/place_legal_hold", json={"reason": "Case 26-117"})
        assert held.status_code == 200
        ends = {"confirm_subdomain": "held", "retain_days": 0}
        for caller in (member, owner):
            lifted = await caller.post(f"{own}/commands/release_legal_hold")
            ended = await caller.request("DELETE", own, json=ends)
            assert (lifted.status_code, ended.status_code) == (403, 403)
        moved = await member.put(f"{own}/upgrade", json={"plan": "enterprise"})
        assert moved.json()["type"] == "/problems/forbidden"
        unheld = await owner.request("DELETE", own, json={"confirm_subdomain": "held"})
        assert unheld.json()["type"] == "/problems/legal-hold"


async def test_only_operators_make_tenants_under_any_name(app: ASGIApp, signer: Signer) -> None:
    async with client(app, signer.sign(user="eve", role="owner", tenant=OWN)) as eve:
        for path in (API, f"{API}/{OWN}/commands/provision"):
            assert (await eve.post(path, json=wish())).status_code == 403


async def test_a_tenants_own_people_reach_their_tenant(service: Service, signer: Signer) -> None:
    app = edge(service.doors, signer)
    async with client(app, signer.sign(user="ops", role="operator")) as operator:
        outcome = (await operator.post(API, json=wish())).json()
    own, position = f"{API}/{outcome['tenant_id']}", outcome["position"]
    for role, refused in (("owner", False), ("admin", False), ("member", False), ("viewer", True)):
        token = signer.sign(user="ada", role=role, tenant=outcome["tenant_id"])
        async with client(app, token) as ada:
            read = await ada.get(own, params=at(position))
            assert read.json()["tenant_id"] == outcome["tenant_id"]
            write = await ada.put(own, json={"name": "B"})
            expected = "forbidden" if refused else "operation-in-progress"
            assert write.json()["type"] == f"/problems/{expected}"


async def test_a_body_is_not_read_for_who_may_not_send_it(app: ASGIApp, signer: Signer) -> None:
    endless = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await endless.wait()

    token = signer.sign(user="eve", role="viewer", tenant=OWN)
    async with client(app, token) as eve, within("a refusal"):
        answer = await eve.post(f"{API}/{OWN}/suspend", content=body())
    assert answer.status_code == 403
