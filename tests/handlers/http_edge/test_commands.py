"""Commands over HTTP, decided by the real executor on a real database."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from litestar.types import ASGIApp

from handlers.execution.versions import Versions
from handlers.http_edge.tenants import Doors, Limits
from handlers.http_edge.tokens import Signer
from tenant_domain.tenant.commands import Terminate
from tests.support.edge import Made, Service, at, client, edge, wish

TENANTS = "/api/v1/tenants"


async def test_provisioning_is_accepted_and_names_its_operation(operator: httpx.AsyncClient) -> None:
    answer = await operator.post(TENANTS, json=wish())
    outcome = answer.json()
    assert answer.status_code == 202
    assert outcome["status"] == "completed"
    path = f"{TENANTS}/{outcome['tenant_id']}/operations/{outcome['operation_id']}"
    assert answer.headers["location"] == path
    run = await operator.get(path, params=at(outcome["position"]))
    assert run.json()["kind"] == "provisioning"
    assert run.json()["tenant_id"] == outcome["tenant_id"]


async def test_a_command_without_an_operation_answers_200(
    operator: httpx.AsyncClient, active_tenant: Made
) -> None:
    tenant = (await active_tenant("acme"))["tenant_id"]
    answer = await operator.put(f"{TENANTS}/{tenant}", json={"name": "Acme & Sons"})
    assert answer.status_code == 200
    assert "location" not in answer.headers
    assert answer.json()["version"] == 3


async def test_the_tenant_id_may_stand_in_the_body(operator: httpx.AsyncClient) -> None:
    chosen = str(uuid4())
    answer = await operator.post(TENANTS, json={"tenant_id": chosen, **wish()})
    assert answer.json()["tenant_id"] == chosen


@pytest.mark.parametrize("tenant_id", ["x", 7, None, "0197A3F0-1C5E-7B41-9D27-3F6E8A2B4C10"])
async def test_a_tenant_id_that_is_none_is_refused_by_name(
    refused: httpx.AsyncClient, tenant_id: object
) -> None:
    answer = await refused.post(TENANTS, json={"tenant_id": tenant_id, **wish()})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "tenant_id"


async def test_the_same_key_gives_the_same_bytes_and_no_second_tenant(operator: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "order 66"}
    first = await operator.post(TENANTS, json=wish(), headers=key)
    shuffled = dict(reversed(wish().items()))
    again = await operator.post(TENANTS, json=shuffled, headers=key)
    assert again.content == first.content
    assert again.status_code == 202
    assert again.headers["location"] == first.headers["location"]
    position = first.json()["position"]
    assert len((await operator.get(TENANTS, params=at(position))).json()["items"]) == 1


async def test_the_same_key_with_another_body_is_refused(operator: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    await operator.post(TENANTS, json=wish(), headers=key)
    answer = await operator.post(TENANTS, json=wish("other"), headers=key)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/command-id-reused"


async def test_requests_at_once_with_one_key_are_one_command(operator: httpx.AsyncClient) -> None:
    def ask() -> Any:
        return operator.post(TENANTS, json=wish(), headers={"Idempotency-Key": "same"})

    answers = await asyncio.gather(*(ask() for _ in range(8)))
    assert {answer.content for answer in answers} == {answers[0].content}
    assert answers[0].status_code == 202


async def test_a_recorded_refusal_is_repeated_too(operator: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = await operator.post(f"{TENANTS}/{uuid4()}/resume", headers=key)
    assert first.json()["type"] == "/problems/tenant-not-found"
    tenant = str(uuid4())
    path = f"{TENANTS}/{tenant}/resume"
    refused = await operator.post(path, headers=key)
    await operator.post(TENANTS, json={"tenant_id": tenant, **wish()})
    again = await operator.post(path, headers=key)
    assert again.content == refused.content


async def test_keys_of_two_callers_do_not_meet(
    app: ASGIApp, signer: Signer, operator: httpx.AsyncClient
) -> None:
    key = {"Idempotency-Key": "k"}
    mine = await operator.post(TENANTS, json=wish("mine"), headers=key)
    async with client(app, signer.sign(user="other", role="operator")) as other:
        theirs = await other.post(TENANTS, json=wish("theirs"), headers=key)
    assert theirs.status_code == 202
    assert theirs.json()["tenant_id"] != mine.json()["tenant_id"]
    assert theirs.json()["command_id"] != mine.json()["command_id"]


async def test_without_a_key_each_request_is_a_command_of_its_own(operator: httpx.AsyncClient) -> None:
    first = await operator.post(TENANTS, json=wish())
    second = await operator.post(TENANTS, json=wish())
    assert first.json()["tenant_id"] != second.json().get("tenant_id")
    assert second.json()["type"] == "/problems/subdomain-taken"


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_must_have_1_to_255_characters(refused: httpx.AsyncClient, key: str) -> None:
    answer = await refused.post(TENANTS, json=wish(), headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_two_different_keys_are_refused(refused: httpx.AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await refused.post(TENANTS, json=wish(), headers=headers)
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


async def test_the_longest_key_is_taken(operator: httpx.AsyncClient) -> None:
    for number, key in enumerate((b"x" * 255, "é".encode() * 255, b"\xe8" * 255)):
        answer = await operator.post(TENANTS, json=wish(f"t{number}"), headers=[(b"Idempotency-Key", key)])
        assert answer.status_code == 202


async def test_a_write_honours_if_match(operator: httpx.AsyncClient, active_tenant: Made) -> None:
    path = f"{TENANTS}/{(await active_tenant('acme'))['tenant_id']}"
    stale = await operator.put(path, json={"name": "B"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert (stale.json()["type"], stale.json()["version"]) == ("/problems/version-conflict", 2)
    fits = await operator.put(path, json={"name": "B"}, headers={"If-Match": '"2"'})
    assert fits.status_code == 200
    any_version = await operator.put(path, json={"name": "C"}, headers={"If-Match": "*"})
    assert any_version.json()["version"] == 4


async def test_a_tag_that_no_version_has_never_matches(
    operator: httpx.AsyncClient, active_tenant: Made
) -> None:
    path = f"{TENANTS}/{(await active_tenant('acme'))['tenant_id']}"
    for tag in ('"abc"', 'W/"2"', '"02"', '""', '"-1"', '"1", W/"2","3"'):
        answer = await operator.put(path, json={"name": "B"}, headers={"If-Match": tag})
        assert answer.json()["type"] == "/problems/version-conflict"


async def test_one_of_several_tags_must_match(operator: httpx.AsyncClient, active_tenant: Made) -> None:
    path = f"{TENANTS}/{(await active_tenant('acme'))['tenant_id']}"
    several: list[Any] = [[("If-Match", '"1", "2" ,"a,b"')], [("If-Match", '"9"'), ("If-Match", '"3"')]]
    for number, headers in enumerate(several):
        answer = await operator.put(path, json={"name": f"B{number}"}, headers=headers)
        assert answer.status_code == 200


@pytest.mark.parametrize("tag", ["2", '"1", 2', '"1" "2"', '"1", *', "abc", ""])
async def test_an_if_match_that_is_no_tag_is_refused(refused: httpx.AsyncClient, tag: str) -> None:
    answer = await refused.put(f"{TENANTS}/{uuid4()}", json={"name": "B"}, headers={"If-Match": tag})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "If-Match"


async def test_who_asked_and_what_it_belongs_to_stand_in_the_history(operator: httpx.AsyncClient) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"Correlation-Id": "order-é".encode(), "traceparent": trace, "Actor": "somebody else"}
    answer = await operator.post(TENANTS, json=wish(), headers=headers)  # pyright: ignore[reportArgumentType]
    tenant, position = answer.json()["tenant_id"], answer.json()["position"]
    facts = (await operator.get(f"{TENANTS}/{tenant}/history", params=at(position))).json()
    assert {(fact["actor"], fact["correlation_id"]) for fact in facts["items"]} == {("ops", "order-é")}
    assert answer.headers.raw.count((b"correlation-id", "order-é".encode())) == 1


async def test_any_command_is_reached_by_its_name(operator: httpx.AsyncClient, active_tenant: Made) -> None:
    tenant = (await active_tenant("acme"))["tenant_id"]
    answer = await operator.post(f"{TENANTS}/{tenant}/commands/update_profile", json={"name": "B"})
    assert answer.status_code == 200
    answer = await operator.post(f"{TENANTS}/{tenant}/suspend", json={"reason": "unpaid"})
    assert answer.status_code == 202
    answer = await operator.post(f"{TENANTS}/{tenant}/commands/fly")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/unknown-command")


@pytest.mark.parametrize(("method", "path"), [("POST", "/switch")])
async def test_a_command_that_is_not_there_yet_says_so(
    refused: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await refused.request(method, f"{TENANTS}/{uuid4()}{path}", json={})
    assert answer.json()["type"] == "/problems/unknown-command"


@pytest.mark.parametrize(
    ("newest", "status"), [("update_profile.nickname", 503), ("update_profile.other", 422)]
)
async def test_a_field_that_only_a_living_newer_version_knows_is_to_be_sent_again(
    service: Service, signer: Signer, newest: str, status: int
) -> None:
    async with service.store.transaction() as transaction:
        await transaction.connection.execute(
            "INSERT INTO service.registries (fingerprint, commands, facts, seen_at)"
            " VALUES ('newer', ARRAY[%s], '{}', clock_timestamp())",
            (newest,),
        )
    doors = service.doors._replace(instead_of=Versions(service.store).instead_of)
    async with client(edge(doors, signer), signer.sign(user="ops", role="operator")) as operator:
        answer = await operator.put(f"{TENANTS}/{uuid4()}", json={"nickname": "A"})
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) is (status == 503)


@pytest.mark.parametrize("as_body", [True, False])
async def test_the_fields_of_a_delete_are_its_body_or_its_parameters(signer: Signer, as_body: bool) -> None:
    asked: list[Any] = []

    async def execute(request: Any) -> Any:
        asked.append(request)
        raise AssertionError

    doors = Doors(execute, execute, uuid4, execute)  # pyright: ignore[reportArgumentType]
    async with client(edge(doors, signer), signer.sign(user="ops", role="operator")) as operator:
        fields: dict[str, Any] = {"confirm_subdomain": "acme", "retain_days": 0}
        how = {"json": fields} if as_body else {"params": fields}
        await operator.request("DELETE", f"{TENANTS}/{uuid4()}", **how)  # pyright: ignore[reportArgumentType]
        assert asked[0].form == Terminate(confirm_subdomain="acme", retain_days=0)
        both = await operator.request("DELETE", f"{TENANTS}/{uuid4()}", params=fields, json=fields)
        assert both.status_code == 422
        wrong = await operator.delete(f"{TENANTS}/{uuid4()}", params={**fields, "retain_days": "x"})
        assert wrong.json()["errors"][0]["field"] == "retain_days"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff", "body"),
        (b'{"reason": 7}', "reason"),
        (b'{"reason": "x", "more": 1}', "more"),
        (b"", "reason"),
    ],
)
async def test_a_body_that_does_not_fit_is_refused_by_name(
    refused: httpx.AsyncClient, body: bytes, field: str
) -> None:
    answer = await refused.post(
        f"{TENANTS}/{uuid4()}/suspend", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-command"
    assert answer.json()["errors"][0]["field"] == field
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_beyond_256_kib_is_refused(refused: httpx.AsyncClient) -> None:
    room = 256 * 1024 - len('{"reason":""}')
    for size, status in ((room, 422), (room + 1, 413)):
        answer = await refused.post(
            f"{TENANTS}/{uuid4()}/suspend",
            content=b'{"reason":"%b"}' % (b"x" * size),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == status
    assert answer.json()["type"] == "/problems/content-too-large"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=latin1"},
        {"Content-Type": "application/json; charset=utf-16; x=utf-8"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        [("Content-Type", "application/json"), ("Content-Type", "text/plain")],
    ],
)
async def test_a_body_that_is_not_plain_json_is_refused(refused: httpx.AsyncClient, headers: Any) -> None:
    answer = await refused.post(f"{TENANTS}/{uuid4()}/suspend", content=b'{"reason":"x"}', headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type")


async def test_json_is_taken_under_all_its_names(operator: httpx.AsyncClient) -> None:
    for kind in ("application/json", "application/JSON; charset=UTF-8", "application/a+json"):
        answer = await operator.post(
            f"{TENANTS}/{uuid4()}/suspend", content=b'{"reason":"x"}', headers={"Content-Type": kind}
        )
        assert answer.json()["type"] == "/problems/tenant-not-found"


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/upgrade?effective=now"), ("POST", "/commands/suspend?effective=x"), ("PUT", "?effective=1")],
)
async def test_a_commands_fields_stand_in_its_body_alone(
    refused: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await refused.request(method, f"{TENANTS}/{uuid4()}{path}", json={"plan": "free"})
    assert answer.json()["errors"] == [
        {"field": "effective", "detail": "give a command's fields in its body"}
    ]


async def test_of_two_traces_none_is_taken(operator: httpx.AsyncClient, active_tenant: Made) -> None:
    made = await active_tenant("traced")
    traces = [
        ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"),
        ("traceparent", f"00-{'c' * 32}-{'b' * 16}-01"),
    ]
    answer = await operator.put(f"{TENANTS}/{made['tenant_id']}", json={"name": "B"}, headers=traces)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "path", ["{tenant}%2Fhistory", "{tenant}/operations/%2f", "{tenant}/queries/tenant%2F"]
)
async def test_an_encoded_slash_leads_to_no_other_route(
    operator: httpx.AsyncClient, active_tenant: Made, path: str
) -> None:
    tenant = (await active_tenant("slashed"))["tenant_id"]
    answer = await operator.get(f"{TENANTS}/{path.format(tenant=tenant)}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-such-route")


async def test_a_command_without_an_answer_in_time_is_not_called_undone(
    service: Service, signer: Signer
) -> None:
    async def never(_: Any) -> Any:
        await asyncio.Event().wait()

    doors = service.doors._replace(execute=never, limits=Limits(answer=0.01))
    async with client(edge(doors, signer), signer.sign(user="ops", role="operator")) as operator:
        answer = await operator.post(TENANTS, json=wish())
    assert (answer.status_code, answer.json()["type"]) == (504, "/problems/no-answer")


async def test_a_defect_is_told_without_its_details(
    service: Service, signer: Signer, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(_: Any) -> Any:
        raise RuntimeError("the password is swordfish")

    doors = service.doors._replace(execute=broken)
    async with client(edge(doors, signer), signer.sign(user="ops", role="operator")) as operator:
        answer = await operator.post(TENANTS, json=wish())
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal-error")
    assert "swordfish" not in answer.text
    assert "http handler failed" in capsys.readouterr().out


async def test_the_command_id_of_an_outcome_finds_it_again(operator: httpx.AsyncClient) -> None:
    answer = await operator.post(TENANTS, json=wish(), headers={"Idempotency-Key": "k"})
    outcome = answer.json()
    assert UUID(answer.headers["command-id"]) == UUID(outcome["command_id"])
    found = await operator.get(
        f"{TENANTS}/{outcome['tenant_id']}/queries/outcome",
        params={"command_id": outcome["command_id"], **at(outcome["position"])},
    )
    assert {**found.json(), "position": 0} == {**outcome, "position": 0}
