"""A rebuild stands beside the live read model, and its swap is felt by nobody."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from psycopg import AsyncConnection

from handlers.adapters.tasks import end
from handlers.projector import building
from handlers.projector.rebuild import rebuild
from handlers.queries import Queries
from projections import tenants
from tenant_domain.subdomain.events import SubdomainClaimed
from tenant_domain.tenant.events import ProfileUpdated
from tenant_domain.values import subdomain_stream
from tests.support.keys import reading_keyring
from tests.support.readside import ReadSide


async def generations(side: ReadSide) -> list[tuple[int, bool]]:
    return [
        (row[0], row[1])
        for row in await side.fetch(
            "SELECT generation, live FROM service.projections WHERE name = 'tenants' ORDER BY generation"
        )
    ]


async def tables(side: ReadSide) -> set[str]:
    return {
        row[0]
        for row in await side.fetch(
            "SELECT tablename::text FROM pg_tables"
            " WHERE schemaname = 'service' AND tablename LIKE 'rm_tenants%%'"
        )
    }


async def test_a_rebuild_replaces_the_generation_and_drops_the_old_table(side: ReadSide) -> None:
    for n in range(10):
        side.history.tenant(subdomain=f"t-{n}")
    await side.project()
    rebuilt = await rebuild(side.url, side.connections, tenants.MODEL)
    assert (rebuilt.generation, rebuilt.events, rebuilt.position) == (2, 10, 10)
    assert await generations(side) == [(2, True)]
    assert await tables(side) == {"rm_tenants_2"}


async def test_no_read_fails_and_no_position_falls_while_rebuilds_and_writes_go_on(side: ReadSide) -> None:
    ids = [side.history.tenant(f"Tenant {n}", subdomain=f"t-{n}") for n in range(200)]
    for n, tenant in enumerate(ids):
        claim = SubdomainClaimed(subdomain=f"t-{n}", tenant_id=str(tenant))
        side.history.add(tenant, subdomain_stream(f"t-{n}"), claim)
    await side.project()
    over = asyncio.Event()
    projecting = asyncio.create_task(side.projector.run())

    async def write() -> None:
        n = 0
        while not over.is_set():
            n += 1
            for tenant in ids[n % 10 :: 10]:
                side.history.add(tenant, tenant, ProfileUpdated(metadata={"n": str(n)}))
            await side.history.append(side.store)
            side.projector.wake()

    async def read(tenant: UUID, n: int) -> int:
        seen: dict[str, int] = {}
        count = 0
        while not over.is_set():
            for scope, query, fields in (
                (str(tenant), "tenant", {}),
                ("fleet", "tenants", {"search": f"Tenant {n}", "limit": 3}),
                ("fleet", "by_subdomain", {"subdomain": f"t-{n}"}),
            ):
                answer: Any = await side.ask(scope, query, **fields)
                assert answer["position"] >= seen.get(query, 0)
                seen[query] = answer["position"]
                assert (answer["items"][0] if "items" in answer else answer)["name"].startswith("Tenant ")
                count += 1
        return count

    readers = [asyncio.create_task(read(ids[n], n)) for n in range(6)]
    writer = asyncio.create_task(write())
    try:
        for _ in range(4):
            await rebuild(side.url, side.connections, tenants.MODEL)
    finally:
        over.set()
        counts = await asyncio.gather(*readers)
        await writer
        await end(projecting)
    assert all(counts)
    await side.project()
    assert await generations(side) == [(5, True)]
    page = await side.ask("fleet", "tenants", limit=500)
    assert {i["tenant_id"]: i["version"] for i in page["items"]} == {
        str(tenant): len(side.history.facts[tenant]) for tenant in ids
    }


async def test_a_projector_goes_on_in_the_new_generation_at_once(side: ReadSide) -> None:
    tenant = side.history.tenant()
    await side.project()
    await rebuild(side.url, side.connections, tenants.MODEL)
    side.history.add(tenant, tenant, ProfileUpdated(tenant_name="After the swap"))
    await side.history.append(side.store)
    assert await side.projector.step()  # finds the old generation gone
    assert not side.projector.standing_by
    assert await side.projector.step()
    assert (await side.ask(tenant, "tenant"))["name"] == "After the swap"


async def test_another_process_finds_the_new_generation_by_itself(side: ReadSide) -> None:
    tenant = side.history.tenant()
    await side.project()
    other = Queries(side.connections, reading_keyring(side.connections))
    before = await other.answer(str(tenant), "tenant")
    await rebuild(side.url, side.connections, tenants.MODEL)
    assert await other.answer(str(tenant), "tenant") == before


async def test_what_a_dead_rebuild_left_is_cleared_by_the_next_one(side: ReadSide) -> None:
    side.history.tenant()
    await side.project()
    await side.execute(
        "INSERT INTO service.projections (name, generation, revision) VALUES ('tenants', 2, 1)"
    )
    await side.execute("CREATE TABLE service.rm_tenants_2 ()")
    rebuilt = await rebuild(side.url, side.connections, tenants.MODEL)
    assert await generations(side) == [(rebuilt.generation, True)]
    assert await tables(side) == {f"rm_tenants_{rebuilt.generation}"}


async def test_a_table_that_somebody_reads_for_long_is_dropped_the_next_time(side: ReadSide) -> None:
    side.history.tenant()
    await side.project()
    async with await AsyncConnection.connect(side.url) as reader:
        await reader.execute("SELECT FROM service.rm_tenants_1")
        await rebuild(side.url, side.connections, tenants.MODEL)
        assert await tables(side) == {"rm_tenants_1", "rm_tenants_2"}
    await rebuild(side.url, side.connections, tenants.MODEL)
    assert await tables(side) == {"rm_tenants_3"}


async def test_two_rebuilds_at_once_come_one_after_the_other(side: ReadSide) -> None:
    side.history.tenant()
    await side.project()
    both = await asyncio.gather(*(rebuild(side.url, side.connections, tenants.MODEL) for _ in range(2)))
    assert sorted(each.generation for each in both) == [2, 3]
    assert await generations(side) == [(3, True)]


async def test_a_rebuild_without_a_projector_ends_at_the_logs_end(side: ReadSide) -> None:
    tenant = side.history.tenant()
    await side.history.append(side.store)
    rebuilt = await rebuild(side.url, side.connections, tenants.MODEL)
    assert rebuilt.position == 1
    assert (await side.ask(tenant, "tenant"))["position"] == 1


async def test_streams_that_reach_over_many_chunks_are_folded_on(side: ReadSide) -> None:
    ids = [side.history.tenant(f"Tenant {n}") for n in range(300)]
    for n in range(100):
        for tenant in ids:
            side.history.add(tenant, tenant, ProfileUpdated(metadata={"n": str(n)}))
    await side.history.append(side.store, batch=5000)
    rebuilt = await rebuild(side.url, side.connections, tenants.MODEL)
    assert rebuilt.events == 300 * 101
    answer = await side.ask(ids[-1], "tenant")
    assert (answer["version"], answer["metadata"]) == (101, {"n": "99"})


async def test_a_rebuild_reads_no_more_bytes_at_a_time_than_it_may(
    side: ReadSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, size = 20_000, 3_000
    monkeypatch.setattr(building, "_BYTES", most)
    read: list[int] = []
    read_streams = building.Building._read_streams  # pyright: ignore[reportPrivateUsage]

    async def counted(*asked: Any) -> list[Any]:
        rows = await read_streams(*asked)
        read.append(sum(len(row[5]) for row in rows))
        return rows

    monkeypatch.setattr(building.Building, "_read_streams", counted)
    ids = [side.history.tenant(subdomain=f"t-{n}") for n in range(4)]
    for n in range(10):
        for tenant in ids:
            side.history.add(tenant, tenant, ProfileUpdated(metadata={"n": str(n), "blob": "x" * size}))
    await side.project()
    rebuilt = await rebuild(side.url, side.connections, tenants.MODEL)
    assert rebuilt.events == 44
    assert max(read) <= most + size + 200
    for tenant in ids:
        assert (await side.ask(tenant, "tenant"))["metadata"]["n"] == "9"
