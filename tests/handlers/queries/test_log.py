"""Queries that the log and the ledger answer: history, as-of, outcomes."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from handlers.queries import log
from handlers.store.batch import Batch, LedgerRow
from handlers.wire.events import Meta
from tenant_domain.refusals import InvalidQuery, NotFound, TenantNotFound, Unavailable
from tenant_domain.tenant.events import Activated, ProfileUpdated
from tests.support.histories import History, Move, moves
from tests.support.readside import ReadSide

ACTIVATED = Activated(operation_id=str(UUID(int=1)))


async def test_history_has_all_facts_about_the_tenant_oldest_first(side: ReadSide) -> None:
    tenant = side.history.tenant()
    operation = side.history.operation(tenant)
    side.history.tenant("Another", subdomain="another")
    meta = Meta(actor="ops@console", correlation_id="c-7")
    side.history.add(tenant, tenant, ProfileUpdated(tenant_name="Later"), meta=meta)
    await side.history.append(side.store)
    page = await side.ask(tenant, "history")
    assert [(i["position"], i["version"], i["type"]) for i in page["items"]] == [
        (1, 1, "tenant.provisioning_started"),
        (2, 1, "operation.started"),
        (4, 2, "tenant.profile_updated"),
    ]
    assert page["items"][1]["data"]["operation_id"] == str(operation)
    last = page["items"][2]
    assert (last["data"], last["actor"], last["correlation_id"]) == ({"name": "Later"}, "ops@console", "c-7")
    assert last["time"].endswith("Z")
    assert (page["next_cursor"], page["position"]) == (None, 4)


async def test_history_is_cut_by_positions_and_types_both_ends_included(side: ReadSide) -> None:
    tenant = side.history.tenant()
    for n in range(6):
        side.history.add(tenant, tenant, ACTIVATED if n % 2 else ProfileUpdated(tenant_name=str(n)))
    await side.history.append(side.store)

    async def found(**fields: Any) -> list[int]:
        return [item["position"] for item in (await side.ask(tenant, "history", **fields))["items"]]

    assert await found(from_position=3, to_position=5) == [3, 4, 5]
    assert await found(types=["tenant.activated"]) == [3, 5, 7]
    assert await found(types=["tenant.activated"], from_position=4) == [5, 7]
    assert await found(types=["tenant.no_such_fact"]) == []
    assert await found(from_position=100) == []
    assert await found(from_position=0, limit=2) == [1, 2]
    assert await found(from_position=5, to_position=4) == []


async def test_pages_of_history_hold_every_fact_once_while_the_log_grows(side: ReadSide) -> None:
    tenant = side.history.tenant()
    side.history.add(tenant, tenant, *[ProfileUpdated(tenant_name=str(n)) for n in range(9)])
    await side.history.append(side.store)
    seen: list[int] = []
    page = await side.ask(tenant, "history", limit=4)
    while True:
        seen += [item["version"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        if len(seen) < 8:
            side.history.add(tenant, tenant, ACTIVATED)
            await side.history.append(side.store)
        page = await side.ask(tenant, "history", limit=4, cursor=page["next_cursor"])
    assert seen == list(range(1, 12))


async def test_the_fleets_history_has_all_tenants(side: ReadSide) -> None:
    one, two = side.history.tenant(subdomain="a"), side.history.tenant(subdomain="b")
    await side.history.append(side.store)
    page = await side.ask("fleet", "history", types=["tenant.provisioning_started"])
    assert [item["tenant_id"] for item in page["items"]] == [str(one), str(two)]
    assert (await side.ask("fleet", "history", from_position=2))["items"][0]["tenant_id"] == str(two)


async def test_rare_facts_are_found_however_far_apart_they_stand(
    side: ReadSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LOOKED_THROUGH", 4)
    tenant = side.history.tenant()
    for n in range(3):
        side.history.add(
            tenant, tenant, *[ProfileUpdated(tenant_name=f"{n} {k}") for k in range(5 * n)], ACTIVATED
        )
    await side.history.append(side.store)
    seen: list[int] = []
    pages = 1
    page = await side.ask("fleet", "history", types=["tenant.activated"])
    while page["next_cursor"]:
        seen += [item["position"] for item in page["items"]]
        page = await side.ask("fleet", "history", types=["tenant.activated"], cursor=page["next_cursor"])
        pages += 1
    assert [*seen, *(item["position"] for item in page["items"])] == [2, 8, 19]
    assert pages == 5


async def test_facts_that_this_version_does_not_know_are_shown_as_they_were_written(side: ReadSide) -> None:
    tenant = side.history.tenant()
    side.history.add_raw(tenant, tenant, "tenant.teleported", b'{"v":1,"data":{"to":"Mars"},"meta":{}}')
    await side.history.append(side.store)
    assert (await side.ask(tenant, "history"))["items"][1]["data"] == {"to": "Mars"}
    assert (await side.ask(tenant, "as_of", version=1))["version"] == 1
    with pytest.raises(Unavailable):
        await side.ask(tenant, "as_of", version=2)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(random_moves=moves)
async def test_as_of_every_version_equals_the_fold_of_so_many_facts(
    side: ReadSide, random_moves: list[Move]
) -> None:
    history = side.history = History()
    history.run(random_moves)
    await history.append(side.store, batch=3)  # several times, so that times differ
    for stream, facts in history.facts.items():
        if history.tenants[stream] != stream:
            continue
        recorded = await side.fetch(
            "SELECT recorded_at FROM service.events WHERE originator_id = %s ORDER BY originator_version",
            stream,
        )
        for version, (at,) in enumerate(recorded, start=1):
            answer = await side.ask(stream, "as_of", version=version)
            folded = history.folded(stream, "tenant", version)
            for field in (
                "name",
                "subdomain",
                "status",
                "plan",
                "metadata",
                "settings",
                "quotas",
                "operation_id",
            ):
                assert answer[field] == msgspec.to_builtins(getattr(folded, field))
            assert answer["version"] == version
            then = await side.ask(stream, "as_of", at=at.isoformat())
            last = max(v for v, (time,) in enumerate(recorded, start=1) if time <= at)
            assert then == await side.ask(stream, "as_of", version=last)
        with pytest.raises(NotFound):
            await side.ask(stream, "as_of", version=len(facts) + 1)


async def test_as_of_the_end_equals_the_present_answer(side: ReadSide) -> None:
    tenant = side.history.tenant()
    side.history.add(tenant, tenant, ACTIVATED)
    await side.project()
    assert await side.ask(tenant, "as_of", at="9999-12-31T23:59:59Z") == await side.ask(tenant, "tenant")


async def test_a_time_is_inclusive_in_any_zone_and_writing(side: ReadSide) -> None:
    tenant = side.history.tenant()
    await side.history.append(side.store)
    ((at,),) = await side.fetch("SELECT recorded_at FROM service.events")
    zone = timezone(timedelta(hours=-9, minutes=-30))
    writings = (
        at.isoformat(),
        at.astimezone(zone).isoformat(),
        at.astimezone(UTC).strftime("%Y-%m-%dt%H:%M:%S.%fz"),
        at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f999Z"),
    )
    for written in writings:
        assert (await side.ask(tenant, "as_of", at=written))["version"] == 1
    with pytest.raises(TenantNotFound):
        await side.ask(tenant, "as_of", at=(at - timedelta(microseconds=1)).isoformat())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"at": "2026-11-23T00:00:00Z", "version": 1},
        {"at": "2026-11-23T00:00:00"},
        {"at": "2026-11-23"},
        {"at": 1700000000},
        {"at": "1700000000"},
        {"at": "2026-02-30T00:00:00Z"},
        {"version": 0},
        {"version": "1"},
        {"version": 2**63},
    ],
    ids=str,
)
async def test_as_of_takes_one_time_with_a_zone_or_one_version(
    side: ReadSide, fields: dict[str, Any]
) -> None:
    tenant = side.history.tenant()
    await side.history.append(side.store)
    with pytest.raises(InvalidQuery) as refused:
        await side.ask(tenant, "as_of", **fields)
    assert refused.value.extra["errors"][0]["field"] in ("at", "version")


async def recorded(side: ReadSide, outcome: bytes, completed: bool) -> tuple[UUID, UUID]:
    tenant_id, command_id = uuid4(), uuid4()
    row = LedgerRow(tenant_id, command_id, b"hash", outcome, completed, 0, 0)
    await side.store.append(Batch(ledger=[row]))
    return tenant_id, command_id


async def test_an_outcome_is_given_back_byte_for_byte(side: ReadSide) -> None:
    side.history.tenant()
    await side.history.append(side.store)
    tenant_id, command_id = await recorded(side, b'{"status":"completed"', completed=True)
    body = msgspec.json.encode({"command_id": command_id})
    assert (
        await side.queries.answer(str(tenant_id), "outcome", body) == b'{"status":"completed","position":1}'
    )
    tenant_id, command_id = await recorded(side, b'{"status":"rejected"}', completed=False)
    body = msgspec.json.encode({"command_id": command_id})
    assert await side.queries.answer(str(tenant_id), "outcome", body) == b'{"status":"rejected"}'


async def test_an_outcome_of_another_tenant_is_not_found(side: ReadSide) -> None:
    _, command_id = await recorded(side, b'{"status":"completed"', completed=True)
    with pytest.raises(NotFound):
        await side.ask(uuid4(), "outcome", command_id=str(command_id))


async def test_outcomes_and_history_need_no_read_model(side: ReadSide) -> None:
    tenant = side.history.tenant()
    await side.history.append(side.store)
    await side.execute("DELETE FROM service.projections")
    assert (await side.ask(tenant, "history"))["position"] == 1
    now = datetime.now(UTC) + timedelta(hours=1)
    assert (await side.ask(tenant, "as_of", at=now.isoformat()))["position"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (b"state = 'no json'", "is not a tenant.profile_updated"),
        (b"""state = '{"v":1,"data":{"name":7},"meta":{}}'""", "is not a tenant.profile_updated"),
        (b"""state = '{"v":99,"data":{},"meta":{}}'""", "does not know tenant.profile_updated in version 99"),
        (b"topic = 'tenant.from_tomorrow'", "does not know tenant.from_tomorrow"),
    ],
)
async def test_an_event_that_cannot_be_read_is_shown_as_such_and_ends_no_page(
    side: ReadSide, change: bytes, reason: str
) -> None:
    # Given a tenant with one event that this version cannot read
    tenant = side.history.tenant()
    for n in range(3):
        side.history.add(tenant, tenant, ProfileUpdated(tenant_name=str(n)))
    await side.history.append(side.store)
    async with side.store.transaction() as transaction:
        statement = b"UPDATE service.events SET " + change + b" WHERE notification_id = 3"
        await transaction.connection.execute(statement)
    # When its history is asked for, and that of all
    for whose in (tenant, "fleet"):
        items = (await side.ask(whose, "history"))["items"]
        # Then all are there, and that one says why it is not
        assert [item["position"] for item in items] == [1, 2, 3, 4]
        assert [reason in item.get("unreadable", "") for item in items] == [False, False, True, False]
    # And its state is refused only where that event belongs to it
    assert (await side.ask(tenant, "as_of", version=2))["name"] == "0"
    with pytest.raises(Unavailable, match="position 3 is unreadable"):
        await side.ask(tenant, "as_of", version=4)
