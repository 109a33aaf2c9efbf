"""Whatever comes in, the answer is a success or a problem document that says whose mistake it is."""

import json
import re
from typing import Any
from urllib.parse import quote, quote_from_bytes

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.http_edge.problems import PROBLEMS
from handlers.http_edge.routes import API, FLEET_QUERIES, ROUTES, Route
from projections.registry import QUESTIONS
from tenant_domain.registry import COMMANDS
from tests.support.edge import wish

TENANT = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"
slowly = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def encoded(text: str) -> str:
    """The text as it may stand in a URL."""
    return quote(text, errors="replace")


def bent(name: str, value: Any) -> bytes:
    """A body that fits, with one field that may not."""
    return json.dumps({**wish(), name: value}).encode()


def filled(route: Route, tenant: str, name: str) -> str:
    """The path of `route` with these in it."""
    return re.sub(r"{(?!tenant_id)\w+:str}", lambda _: name, route.path.replace("{tenant_id:str}", tenant))


texts = st.text(max_size=20) | st.sampled_from(
    ["\x00", "\ud800", "'; DROP", "%", "٣", "0" * 400, "1e999", "NaN"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
field_names = st.sampled_from(
    sorted({name for spec in COMMANDS.values() for name in spec.form.model_fields} | {"tenant_id"})
)
bodies = (
    st.binary(max_size=60)
    | st.dictionaries(field_names | texts, values, max_size=6).map(lambda body: json.dumps(body).encode())
    | st.builds(bent, field_names, values)
)
headers = st.dictionaries(
    st.sampled_from(
        [
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            "Correlation-Id",
            "Causation-Id",
            "traceparent",
            "Content-Type",
            "Content-Encoding",
            "Content-Length",
            "Accept",
            "Origin",
            "Host",
            "Range",
            "Cookie",
            "X-HTTP-Method-Override",
        ]
    ),
    st.binary(max_size=40) | st.sampled_from([b"application/json", b'"1"', b"*", b'W/"0"', b"text/html"]),
    max_size=5,
)
tokens = st.sampled_from([TENANT, "fleet", "x", "*", "..", "%00", "%2F", "é"]) | texts.map(
    lambda t: quote(t, errors="replace")
)
paths = st.one_of(
    st.just(API),
    st.builds(
        filled,
        st.sampled_from(ROUTES),
        tokens,
        st.sampled_from([*COMMANDS, *(name for _, name in QUESTIONS)]) | tokens,
    ),
    texts.map(lambda text: "/" + encoded(text)),
)
parameter_names = st.sampled_from(
    sorted({name for each in QUESTIONS.values() for name in each.form.model_fields} | set(FLEET_QUERIES))
)
queries = st.lists(st.tuples(parameter_names | texts, texts | st.integers().map(str)), max_size=4)


def check(answer: httpx.Response) -> None:
    """Fail unless the answer is a success or blames the caller in the form of a problem document."""
    if answer.status_code < 400:
        return
    problem: dict[str, Any] = answer.json()
    name = problem["type"].removeprefix("/problems/")
    assert answer.headers["content-type"] == "application/problem+json"
    assert PROBLEMS[name].status == answer.status_code == problem["status"]
    assert answer.status_code < 500 or name == "stale-read", answer.text


@slowly
@given(method=st.sampled_from(["POST", "PUT", "DELETE"]), path=paths, body=bodies, extra=headers)
async def test_commands_of_any_shape(
    operator: httpx.AsyncClient, method: str, path: str, body: bytes, extra: dict[str, bytes]
) -> None:
    given_headers = [("Content-Type", b"application/json"), *extra.items()]
    check(await operator.request(method, path, content=body, headers=given_headers))  # pyright: ignore


@slowly
@given(method=st.sampled_from(["GET", "HEAD", "OPTIONS", "PATCH"]), path=paths, query=queries, extra=headers)
async def test_queries_of_any_shape(
    operator: httpx.AsyncClient, method: str, path: str, query: list[tuple[str, str]], extra: dict[str, bytes]
) -> None:
    encoded = "&".join(
        f"{quote(name, errors='replace')}={quote(text, errors='replace')}" for name, text in query
    )
    answer = await operator.request(method, f"{path}?{encoded}&timeout_ms=0", headers=[*extra.items()])  # pyright: ignore
    if method != "HEAD":
        check(answer)
    assert answer.status_code < 500 or answer.status_code == 503


@slowly
@given(raw=st.binary(max_size=60))
async def test_query_strings_of_any_shape(operator: httpx.AsyncClient, raw: bytes) -> None:
    check(await operator.get(f"{API}?{quote_from_bytes(raw, safe='&=+%;')}"))


@slowly
@given(credential=st.binary(max_size=80))
async def test_credentials_of_any_shape_open_nothing(operator: httpx.AsyncClient, credential: bytes) -> None:
    answer = await operator.get(API, headers={"Authorization": b"Bearer " + credential})  # pyright: ignore
    assert answer.status_code == 401
