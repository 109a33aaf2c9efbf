"""The end of a tenant on real servers: what is kept, what goes, what comes back, and what is certified."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any, Literal
from uuid import UUID, uuid4

import psycopg
import pytest
from pyarrow import parquet

from handlers.adapters.schemas import schema_of
from tenant_domain.operation.events import StepCompleted
from tenant_domain.operation.state import OperationStatus
from tenant_domain.tenant.commands import (
    CancelTermination,
    PlaceLegalHold,
    ReleaseLegalHold,
    Suspend,
    Upgrade,
)
from tenant_domain.tenant.decide import HELD
from tenant_domain.tenant.events import Purged
from tenant_domain.values import Status
from tests.handlers.saga_runner.ending import (
    ROWS,
    certificate,
    check_by_hand,
    fetched,
    living,
    preserved,
    state_of,
    terminate,
)
from tests.handlers.saga_runner.faults import Faults, Pause, fail_for_good
from tests.handlers.saga_runner.house import EVERYTHING, House, topics
from tests.support.waiting import PATIENCE, soon, until


async def tables_of(house: House, tenant_id: UUID) -> list[str]:
    query = "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1"
    return [row[0] for row in await house.sql(query, schema_of(tenant_id))]


async def test_a_tenant_that_ends_at_once_leaves_nothing_but_its_history_and_a_certificate(house: House):
    async with house.working():
        tenant_id = await living(house)
        subdomain = (await house.tenant(tenant_id)).subdomain
        operation_id = await terminate(house, tenant_id)
        operation = await house.finished(operation_id)
        assert operation.status is OperationStatus.SUCCEEDED
        assert (await house.tenant(tenant_id)).status is Status.DELETED
        assert await house.remains(tenant_id) == set()
        assert await house.sql("SELECT 1 FROM service.exports") == []
        _, other = await house.provision(subdomain=subdomain)
        assert (await house.finished(other)).status is OperationStatus.SUCCEEDED

    assert [name for name in topics(await house.history(tenant_id), "tenant") if "provision" not in name] == [
        "tenant.defaults_configured",
        "tenant.activated",
        "tenant.termination_scheduled",
        "tenant.purge_started",
        "tenant.purged",
    ]
    document = await certificate(house, tenant_id)
    (purged,) = [fact for fact in await house.facts(tenant_id) if isinstance(fact, Purged)]
    assert purged.certificate_sha256 == hashlib.sha256(document).hexdigest()
    check_by_hand(document)
    said = json.loads(document)["certificate"]
    assert (said["tenant_id"], said["certificate_id"]) == (str(tenant_id), purged.certificate_id)
    assert said["export"]["fetched_at"] is None
    assert [each["channel"] for each in said["export"]["handed_over"]] == ["bus"]
    counts = {store["what"]: store["count"] for store in said["stores"]}
    assert counts["objects of the tenant's bucket"] == 1
    assert counts[f"tables of the schema {schema_of(tenant_id)}, and its role"] == 7
    assert all(store["verified"] for store in said["stores"])
    told = json.dumps(said, ensure_ascii=False).lower()  # the signature beside it is any letters
    assert not any(word in told for word in ("lumen", "ada@", "ada lumen"))


async def test_the_export_is_whole_and_can_be_read_back(house: House):
    async with house.working():
        tenant_id = await living(house)
        schema = schema_of(tenant_id)
        tables = await tables_of(house, tenant_id)
        rows = {
            table: await house.sql(f"SELECT t::text FROM {schema}.{table} t ORDER BY 1") for table in tables
        }
        operation_id = await terminate(house, tenant_id, retain_days=30)
        await preserved(house, operation_id)

        manifest = await fetched(house, tenant_id, "manifest.json")
        output = (await house.operation(operation_id)).step("data_preservation").output
        assert hashlib.sha256(manifest).hexdigest() == output["manifest_sha256"]
        parts: dict[str, bytes] = {}
        for part in json.loads(manifest)["parts"]:
            content = parts[part["path"]] = await fetched(house, tenant_id, part["path"])
            assert (len(content), hashlib.sha256(content).hexdigest()) == (part["size"], part["sha256"])
        receipt = await house.shelf.receipt(operation_id)
        assert receipt is not None
        assert receipt.fetched_at is not None

    assert parts["objects/a b/ü.txt"] == b"abc"
    events = [json.loads(line) for line in parts["events.jsonl"].splitlines()]
    assert events[0]["type"] == "tenant.provisioning_started"
    assert [event["position"] for event in events] == sorted(event["position"] for event in events)
    read: Any = parquet.read_table  # pyright: ignore[reportUnknownVariableType]
    audit = read(io.BytesIO(parts["database/audit.parquet"]))
    assert audit.num_rows == ROWS
    assert json.loads(audit["detail"][0].as_py())["text"] == "a\nb"
    files = read(io.BytesIO(parts["database/files.parquet"]))
    assert files.to_pylist()[0] == {
        "path": "a b/ü.txt",
        "size": 3,
        "media_type": "text/plain",
        "sha256": b"\x00\xff\x27",
        "created_by": None,
        "created_at": None,
    }
    async with await psycopg.AsyncConnection.connect(house.postgres_url) as connection:
        await connection.execute("CREATE SCHEMA restored; SET search_path = restored")
        for path in sorted(path for path in parts if path.endswith(".sql")):
            await connection.execute(parts[path])
        for table in tables:
            found = await connection.execute(f"SELECT t::text FROM restored.{table} t ORDER BY 1".encode())
            assert await found.fetchall() == rows[table], table
        keys = "SELECT count(*) FROM pg_constraint WHERE connamespace = %s::regnamespace"
        counts = [await (await connection.execute(keys, (of,))).fetchone() for of in ("restored", schema)]
        assert counts[0] == counts[1]


async def test_a_cancellation_brings_all_of_it_back(house: House):
    async with house.working():
        for suspended in (False, True):
            tenant_id = await living(house)
            if suspended:
                held = await house.ask(tenant_id, Suspend(reason="unpaid"))
                assert held is not None
                await house.finished(held)
            before = await state_of(house, tenant_id)
            operation_id = await terminate(house, tenant_id, retain_days=30)
            await preserved(house, operation_id)
            assert await house.remains(tenant_id) == {*EVERYTHING, "export"}
            login = await house.sql(
                "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", schema_of(tenant_id)
            )
            assert login == [(False,)]
            await house.ask(tenant_id, CancelTermination())
            operation = await house.finished(operation_id)
            assert operation.status is OperationStatus.CANCELLED
            assert await state_of(house, tenant_id) == before
            assert await house.remains(tenant_id) == EVERYTHING
            assert await house.sql("SELECT 1 FROM service.exports") == []


async def test_a_legal_hold_stops_the_end_where_it_is_and_its_release_lets_it_go_on(house: House):
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", "remove_belongings"), pause)
    async with house.working(effects=faults.effects(), look=0.05):
        tenant_id = await living(house)
        operation_id = await terminate(house, tenant_id)
        await soon(pause.reached.wait())
        await house.ask(tenant_id, PlaceLegalHold(reason="Case 26-114"))
        operation = await house.finished(operation_id)
        assert (operation.status, operation.parked_reason) == (OperationStatus.PARKED, HELD)
        await until(lambda: pause.cancelled)
        assert await house.remains(tenant_id) == {*EVERYTHING, "export"}
        assert await house.agenda() == []

        await house.ask(tenant_id, ReleaseLegalHold())
        operation = await house.until(operation_id, lambda state: state.finished)
    assert operation.status is OperationStatus.SUCCEEDED
    assert await house.remains(tenant_id) == set()


async def test_a_tenant_whose_provisioning_failed_can_be_ended_too(house: House):
    faults = Faults(house.effects)
    faults.plan(("before", "write_admin"), fail_for_good)
    async with house.working(effects=faults.effects()):
        tenant_id, provisioning = await house.provision()
        await house.finished(provisioning)
        heir, other = await house.provision(subdomain=(await house.tenant(tenant_id)).subdomain)
        await house.finished(other)
        operation_id = await terminate(house, tenant_id)
        assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED
    assert (await house.tenant(tenant_id)).status is Status.DELETED
    assert await house.remains(heir) == EVERYTHING
    released = topics(await house.history(tenant_id), "subdomain")
    assert released == ["subdomain.claimed", "subdomain.released"]


@pytest.mark.usefixtures("mid_month")
@pytest.mark.parametrize("effective", ["period_end", "now"])
async def test_the_purge_begins_after_the_end_of_a_plan_change(
    house: House, effective: Literal["now", "period_end"]
):
    """One waits for its time and is turned back, one has come about and is about to remove its backup."""
    faults, pause = Faults(house.effects), Pause()
    faults.plan(("before", "release_backup"), pause)
    async with house.working(effects=faults.effects()):
        tenant_id = await living(house)
        change = await house.ask(tenant_id, Upgrade(plan="enterprise", effective=effective))
        assert change is not None
        if effective == "now":
            await soon(pause.reached.wait())
        else:
            await house.until(change, lambda state: state.step("backup_state").due_at is not None)
        operation_id = await terminate(house, tenant_id)
        preservation = "data_preservation"
        await house.until(operation_id, lambda state: state.step(preservation).status == "completed")
        pause.released.set()
        assert (await house.finished(operation_id)).status is OperationStatus.SUCCEEDED
    ends = {OperationStatus.SUCCEEDED, OperationStatus.CANCELLED}
    assert (await house.operation(change)).status in ends
    assert await house.remains(tenant_id) == set()
    history = await house.history(tenant_id)
    (purge,) = [event.position for event in history if event.topic == "tenant.purge_started"]
    assert max(event.position for event in history if event.stream_id == change) < purge


async def test_durable_consumers_of_the_tenants_events_go_and_those_of_others_stay(house: House):
    js = house.nats.jetstream(timeout=PATIENCE)
    stream = f"E{house.subjects.prefix}"
    await js.add_stream(name=stream, subjects=[f"{house.subjects.prefix}.events.>"])
    async with house.working():
        tenant_id, other = await living(house), uuid4()
        for name, whose in (("own", tenant_id), ("others", other), ("all", "*")):
            subject = f"{house.subjects.prefix}.events.{whose}.>"
            await js.subscribe(subject, durable=name, stream=stream, manual_ack=True)
        operation_id = await terminate(house, tenant_id)
        operation = await house.finished(operation_id)
    (done,) = [
        fact
        for fact in await house.facts(tenant_id)
        if isinstance(fact, StepCompleted) and fact.step == "cleanup"
    ]
    assert operation.status is OperationStatus.SUCCEEDED
    assert done.output["consumers"] == 1
    assert sorted(info.name for info in await js.consumers_info(stream)) == ["all", "others"]
    await js.delete_stream(stream)
