"""A fact that cannot be folded parks its stream, and nothing else."""

import asyncio
from uuid import UUID, uuid4

import nats
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from handlers.projector.metrics import ProjectorMetrics
from handlers.projector.parking import parked_streams, retry
from handlers.projector.role import ProjectionsRole
from handlers.wire.subjects import Subjects
from projections import tenants
from tenant_domain.refusals import StaleRead, Unavailable
from tenant_domain.tenant.events import ProfileUpdated
from tests.support.histories import History
from tests.support.readside import ReadSide
from tests.support.waiting import within

UNKNOWN = b'{"v":1,"data":{},"meta":{}}'
NEWER = b'{"v":99,"data":{},"meta":{}}'
BROKEN = b'{"v":1,"data":{"name":7},"meta":{}}'
NUL = b'{"v":1,"data":{"name":"a\\u0000b"},"meta":{}}'


def poison(history: History, tenant: UUID, topic: str, state: bytes) -> None:
    history.add_raw(tenant, tenant, topic, state)


@pytest.mark.parametrize(
    ("topic", "state"),
    [
        ("tenant.not_known_here", UNKNOWN),
        ("tenant.activated", NEWER),
        ("tenant.profile_updated", BROKEN),
        ("tenant.profile_updated", NUL),
        ("tenant.activated", b"not JSON"),
    ],
)
async def test_the_stream_stays_as_it_was_and_others_go_on(side: ReadSide, topic: str, state: bytes) -> None:
    history = side.history
    ill, well = history.tenant("Ill"), history.tenant("Well")
    poison(history, ill, topic, state)
    poisoned = 3
    for tenant in (ill, well):
        history.add(tenant, tenant, ProfileUpdated(tenant_name="Later"))
    await side.project()
    history.add(ill, ill, ProfileUpdated(tenant_name="Much later"))
    await side.project()

    stayed = await side.ask(ill, "tenant")
    assert (stayed["name"], stayed["version"]) == ("Ill", 1)
    assert stayed["position"] == poisoned - 1  # what it includes, and no more
    with pytest.raises(StaleRead) as stale:
        await side.ask(ill, "tenant", min_position=poisoned, timeout_ms=50)
    assert stale.value.extra["position"] == poisoned - 1
    went_on = await side.ask(well, "tenant")
    assert (went_on["name"], went_on["position"]) == ("Later", await side.store.head())
    (parked,) = await parked_streams(side.connections)
    assert (parked.read_model, parked.stream_id, parked.position, parked.topic) == (
        "tenants",
        ill,
        poisoned,
        topic,
    )


async def test_a_stream_parked_at_its_birth_is_not_said_to_be_missing_when_it_is_waited_for(
    side: ReadSide,
) -> None:
    tenant = UUID(int=9)
    poison(side.history, tenant, "tenant.provisioning_started", BROKEN)
    side.history.add(tenant, tenant, ProfileUpdated(tenant_name="Later"))
    await side.project()
    for form in ({}, {"min_position": 1, "timeout_ms": 50}):
        with pytest.raises(Unavailable, match="cannot be read by this version"):
            await side.ask(tenant, "tenant", **form)
    assert len(await parked_streams(side.connections, "tenants")) == 1


async def test_a_parked_stream_is_folded_again_once_the_reason_is_gone(side: ReadSide) -> None:
    ill = side.history.tenant("Ill")
    poison(side.history, ill, "tenant.profile_updated", BROKEN)
    side.history.add(ill, ill, ProfileUpdated(subdomain="later"))
    await side.project()
    assert (await retry(side.connections, tenants.MODEL)).parked[0].stream_id == ill

    mended = b'{"v":1,"data":{"name":"Mended"},"meta":{}}'
    await side.execute("UPDATE service.events SET state = %s WHERE originator_version = 2", mended)
    assert (await retry(side.connections, tenants.MODEL)).mended == [ill]
    answer = await side.ask(ill, "tenant")
    assert (answer["name"], answer["subdomain"], answer["version"]) == ("Mended", "later", 3)
    assert answer["position"] == await side.store.head()
    assert await parked_streams(side.connections) == []

    side.history.add(ill, ill, ProfileUpdated(tenant_name="Goes on"))
    await side.history.append(side.store)
    assert await side.projector.step()  # it remembers the stream as parked, and finds that this is old
    assert not side.projector.standing_by
    assert await side.projector.step()
    assert (await side.ask(ill, "tenant"))["name"] == "Goes on"


async def test_a_rebuild_parks_the_same_streams(side: ReadSide) -> None:
    ill, well = side.history.tenant("Ill"), side.history.tenant("Well")
    poison(side.history, ill, "tenant.profile_updated", NUL)
    unborn = UUID(int=9)
    poison(side.history, unborn, "tenant.provisioning_started", BROKEN)
    for tenant in (ill, well, unborn):
        side.history.add(tenant, tenant, ProfileUpdated(tenant_name="Later"))
    await side.project()
    before = [parked._replace(parked_at=None) for parked in await parked_streams(side.connections)]
    await side.make()
    after = [parked._replace(parked_at=None) for parked in await parked_streams(side.connections)]
    assert after == before
    assert {parked.stream_id for parked in after} == {ill, unborn}
    assert (await side.ask(ill, "tenant"))["name"] == "Ill"
    assert (await side.ask(well, "tenant"))["name"] == "Later"


async def test_parking_is_logged_and_counted_without_the_data(side: ReadSide) -> None:
    ill = side.history.tenant("Ill")
    poison(side.history, ill, "tenant.profile_updated", BROKEN)
    registry = CollectorRegistry()
    with capture_logs() as lines:
        await side.project(side.another_projector(metrics=ProjectorMetrics(registry)))
    (line,) = [line for line in lines if line["event"] == "stream parked"]
    assert (line["tenant_id"], line["position"], line["log_level"]) == (str(ill), 2, "error")
    assert registry.get_sample_value("tenants_projection_parked_total", {"read_model": "tenants"}) == 1
    assert registry.get_sample_value("tenants_projection_position", {"read_model": "tenants"}) == 2


async def test_a_gap_in_a_stream_parks_it(side: ReadSide) -> None:
    tenant = side.history.tenant()
    side.history.add(tenant, tenant, ProfileUpdated(tenant_name="Lost"), ProfileUpdated(tenant_name="After"))
    await side.history.append(side.store)
    await side.execute("DELETE FROM service.events WHERE originator_version = 2")
    await side.projector.reload()
    assert await side.projector.step()
    (parked,) = await parked_streams(side.connections)
    assert parked.error == "ValueError: version 3 follows 1"


async def test_the_next_version_folds_by_itself_what_the_one_before_did_not_know(
    side: ReadSide, nats_url: str
) -> None:
    ill = side.history.tenant("Ill")
    poison(side.history, ill, "tenant.profile_updated", BROKEN)
    await side.project()
    assert [each.stream_id for each in await parked_streams(side.connections)] == [ill]
    known = b'{"v":1,"data":{"name":"Known"},"meta":{}}'
    await side.execute("UPDATE service.events SET state = %s WHERE originator_version = 2", known)
    nc = await nats.connect(nats_url)
    role = ProjectionsRole(nc, side.store, side.url, Subjects(f"t{uuid4().hex}"), poll=0.05)
    try:
        await role.start()
        async with within("the next try of what is parked"):
            while await parked_streams(side.connections):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
        assert (await side.ask(ill, "tenant"))["name"] == "Known"
    finally:
        await role.stop()
        await nc.close()
