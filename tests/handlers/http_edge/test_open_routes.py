"""What anybody may read: health, metrics, documents, problems; and what browsers are told."""

import asyncio
from uuid import uuid4

import httpx
import pytest
from prometheus_client import CollectorRegistry

from handlers.http_edge.health import Health
from handlers.http_edge.problems import PROBLEMS
from handlers.http_edge.routes import API
from handlers.http_edge.tenants import Doors
from handlers.http_edge.tokens import Signer
from tests.support.edge import ASYNCAPI, client, edge
from tests.support.waiting import within


async def never(*_: object) -> bytes:
    raise AssertionError


def anybody(signer: Signer, **options: object) -> httpx.AsyncClient:
    return client(edge(Doors(never, never, uuid4, never), signer, **options))  # pyright: ignore[reportArgumentType]


async def well() -> None: ...


async def down() -> None:
    raise OSError("no route to host 10.1.2.3")


async def silent() -> None:
    await asyncio.Event().wait()


async def hanging() -> None:
    """Do not even let go, as a driver does that first tells its silent server to give up."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.Event().wait()


async def test_a_service_whose_parts_answer_is_ok(signer: Signer) -> None:
    async with anybody(signer, health=Health({"postgres": well, "nats": well})) as caller:
        for path in ("/health", "/health/ready"):
            answer = await caller.get(path)
            assert answer.status_code == 200
            assert answer.json() == {"status": "ok", "parts": {"postgres": "ok", "nats": "ok"}}


@pytest.mark.parametrize("broken", [down, silent, hanging])
async def test_a_part_that_is_down_or_silent_is_named_and_nothing_more(
    signer: Signer, broken: object
) -> None:
    health = Health({"postgres": broken, "nats": well}, patience=0.01)  # pyright: ignore[reportArgumentType]
    async with within("an answer although a part gives none"), anybody(signer, health=health) as caller:
        answer = await caller.get("/health/ready")
        assert answer.status_code == 503
        reason = "OSError" if broken is down else "no answer"
        assert answer.json() == {
            "status": "unavailable",
            "parts": {"postgres": "down", "nats": "ok"},
            "reasons": {"postgres": reason},
        }
        assert (await caller.get("/health/live")).json() == {"status": "ok"}
        await health.close()


async def test_many_callers_do_not_ask_the_parts_many_times() -> None:
    asked: list[object] = []

    async def probe() -> None:
        asked.append(None)
        await asyncio.sleep(0)

    health = Health({"postgres": probe}, fresh=60)
    await asyncio.gather(*(health.report() for _ in range(50)))
    await health.report()
    assert len(asked) == 1


async def test_a_part_that_came_back_is_seen() -> None:
    health = Health({"postgres": down}, fresh=-1)
    assert await health.report() == ({"postgres": "down"}, {"postgres": "OSError"})
    health._probes = {"postgres": well}  # pyright: ignore[reportPrivateUsage]
    assert await health.report() == ({"postgres": "ok"}, {})


async def test_metrics_count_requests_by_route_and_not_by_path(signer: Signer) -> None:
    registry = CollectorRegistry()
    async with anybody(signer, registry=registry) as caller:
        await caller.get("/health/live")
        await caller.get(f"{API}/{uuid4()}")
        await caller.request("BREW", f"/{uuid4()}")
        text = (await caller.get("/metrics")).text
    counted = 'tenants_http_request_seconds_count{method="%s",route="%s",status="%s"} 1.0'
    assert counted % ("GET", "/health/live", "200") in text
    assert counted % ("GET", "none", "401") in text
    assert counted % ("OTHER", "none", "401") in text


async def test_documents_are_served(signer: Signer) -> None:
    async with anybody(signer) as caller:
        assert (await caller.get("/asyncapi.json")).content == ASYNCAPI
        assert (await caller.get("/openapi.json")).json()["openapi"].startswith("3.1")
        assert (await caller.get("/.well-known/jwks.json")).json() == signer.jwks()


@pytest.mark.parametrize("name", PROBLEMS)
async def test_every_problem_has_a_page(signer: Signer, name: str) -> None:
    async with anybody(signer) as caller:
        answer = await caller.get(f"/problems/{name}")
        page = answer.json()
        assert answer.headers["content-type"] == "application/json"
        assert (page["type"], page["status"]) == (f"/problems/{name}", PROBLEMS[name].status)
        browser = await caller.get(f"/problems/{name}", headers={"Accept": "text/html,*/*;q=0.8"})
        assert browser.headers["content-type"] == "text/html; charset=utf-8"
        assert page["title"] in browser.text


async def test_a_problem_that_is_none_has_no_page(signer: Signer) -> None:
    async with anybody(signer) as caller:
        answer = await caller.get("/problems/<script>", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/health", "/nowhere", API, "/problems/forbidden"])
async def test_every_response_tells_browsers_to_be_careful(signer: Signer, path: str) -> None:
    async with anybody(signer) as caller:
        headers = (await caller.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"


HOME = "https://console.example"
PREFLIGHT = {"Origin": HOME, "Access-Control-Request-Method": "PUT"}


async def test_no_other_origin_is_let_in_by_default(signer: Signer) -> None:
    async with anybody(signer) as caller:
        asked = await caller.options(API, headers=PREFLIGHT)
        got = await caller.get("/health", headers={"Origin": HOME})
    assert asked.status_code == 401
    assert not {name for name in (*asked.headers, *got.headers) if name.startswith("access-control")}


async def test_an_origin_of_the_settings_is_let_in(signer: Signer) -> None:
    async with anybody(signer, origins=(HOME,)) as caller:
        asked = await caller.options(API, headers=PREFLIGHT)
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == HOME
        assert "PUT" in asked.headers["access-control-allow-methods"]
        assert "Idempotency-Key" in asked.headers["access-control-allow-headers"]
        refused = await caller.get(API, headers={"Origin": HOME})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == HOME
        assert "ETag" in refused.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in refused.headers


@pytest.mark.parametrize("origin", ["https://console.example.evil", "null", "", "HTTPS://CONSOLE.EXAMPLE"])
async def test_another_origin_is_not(signer: Signer, origin: str) -> None:
    async with anybody(signer, origins=(HOME,)) as caller:
        answer = await caller.options(API, headers={**PREFLIGHT, "Origin": origin})
    assert answer.status_code == 401
    assert "access-control-allow-origin" not in answer.headers
