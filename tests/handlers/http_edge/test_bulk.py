"""Many operations at once over HTTP: the tenant `fleet`, and a filter."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from litestar.types import ASGIApp

from handlers.http_edge.routes import API as TENANTS
from handlers.http_edge.tokens import Signer
from tests.support.edge import at, client, wish
from tests.support.waiting import within

FLEET = f"{TENANTS}/fleet"
CANCEL = f"{FLEET}/commands/cancel_operations"


async def running(operator: httpx.AsyncClient, runs: int) -> dict[str, str]:
    """Begin provisionings, and wait until they are listed; returns their tenants by operation."""
    begun = [(await operator.post(TENANTS, json=wish(f"t{number}"))).json() for number in range(runs)]
    listed = await operator.get(f"{FLEET}/queries/operations", params=at(begun[-1]["position"]))
    assert len(listed.json()["items"]) == runs
    return {each["operation_id"]: each["tenant_id"] for each in begun}


async def test_what_fits_the_filter_is_done_page_by_page_and_only_once(operator: httpx.AsyncClient) -> None:
    begun = await running(operator, 5)
    key, done = {"Idempotency-Key": "a"}, list[dict[str, Any]]()
    body: dict[str, Any] = {"kind": "provisioning", "limit": 2}
    while True:
        answer = await operator.post(CANCEL, json=body, headers=key)
        again = await operator.post(CANCEL, json=body, headers=key)
        assert (answer.status_code, answer.json()) == (200, again.json())
        page = answer.json()["result"]
        done += page["items"]
        if page["next_cursor"] is None:
            break
        body["cursor"] = page["next_cursor"]
    assert {each["operation_id"]: each["tenant_id"] for each in done} == begun
    assert {each["status"] for each in done} == {"completed"}
    async with within("the operations to turn back"):
        for operation, tenant in begun.items():
            path = f"{TENANTS}/{tenant}/operations/{operation}"
            while (await operator.get(path)).json()["status"] != "compensating":  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_what_cannot_be_done_is_told_for_each(operator: httpx.AsyncClient) -> None:
    begun = await running(operator, 1)
    answer = await operator.post(f"{FLEET}/commands/rerun_operations", json={"status": "running"})
    (told,) = answer.json()["result"]["items"]
    assert told["operation_id"] in begun
    assert (told["status"], told["problem"]) == ("rejected", "invalid-transition")
    assert told["detail"] == "The operation is running and cannot be run again: it has not ended; retry it."


@pytest.mark.parametrize(
    ("command", "body", "status", "problem"),
    [
        ("retry_operations", {}, 422, "invalid-command"),
        ("retry_operations", {"kind": "upgrade", "from_step": "verify"}, 422, "invalid-command"),
        ("retry_operations", {"status": "asleep"}, 422, "invalid-command"),
        ("retry_operations", {"kind": "asleep"}, 422, "invalid-query"),
        ("retry_operations", {"kind": "upgrade", "cursor": "!"}, 422, "invalid-query"),
        ("suspend", {"reason": "no"}, 404, "unknown-command"),
    ],
    ids=str,
)
async def test_what_does_not_fit_is_refused(
    operator: httpx.AsyncClient, command: str, body: dict[str, Any], status: int, problem: str
) -> None:
    answer = await operator.post(f"{FLEET}/commands/{command}", json=body)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")


async def test_only_operators_reach_the_fleet(app: ASGIApp, signer: Signer) -> None:
    token = signer.sign(user="ada", tenant=str(uuid4()), role="owner")
    async with client(app, token) as owner:
        answer = await owner.post(CANCEL, json={"kind": "provisioning"})
    assert answer.status_code == 403
