"""What an append writes, what it drops, and that nothing comes between its checks and its writes."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from handlers.store.batch import AgendaRow, Batch, DeadLetterRow, KeyRow, ProgressRow, ReadRow, Recorded
from handlers.store.errors import Fenced
from handlers.store.event_store import EventStore, StoredEvent
from tests.handlers.store.batches import command, event, merged, one_command

OWNER = UUID(int=1)
OTHER = UUID(int=2)
DUE = datetime(2026, 12, 24, 18, 0, 0, 123456, tzinfo=UTC)


async def rows(store: EventStore, statement: str) -> list[tuple[object, ...]]:
    async with store.transaction() as transaction:
        cursor = await transaction.connection.execute(statement.encode())
        return await cursor.fetchall()


async def test_a_command_is_written_with_its_events_in_order(store: EventStore):
    tenant = uuid4()
    batch = Batch(
        events=[event(tenant, 1), event(tenant, 2), event(tenant, 3)],
        reads=[ReadRow(tenant, 0, 0)],
        ledger=[command(tenant, events=3)],
    )
    appended = await store.append(batch)
    assert (appended.head, appended.positions, appended.dropped, appended.repeated) == (
        3,
        [3],
        frozenset(),
        {},
    )
    log = await store.read(0, 10)
    assert [(item.position, item.version) for item in log] == [(1, 1), (2, 2), (3, 3)]
    assert len({item.recorded_at for item in log}) == 1
    assert {(item.tenant_id, item.stream_id, item.topic) for item in log} == {
        (tenant, tenant, "subdomain.claimed")
    }
    assert [item.state for item in log] == [row.state for row in batch.events]
    ledger = batch.ledger[0]
    key = (tenant, ledger.command_id)
    assert await store.recorded([key]) == {key: Recorded(ledger.hash, ledger.outcome, 3)}


async def test_positions_of_a_batch_follow_its_commands(store: EventStore):
    first, second = uuid4(), uuid4()
    batch = Batch(
        events=[event(first, 1, 0), event(first, 2, 0), event(second, 1, 2)],
        ledger=[
            command(first, events=2, group=0),
            command(uuid4(), events=0, group=1),
            command(second, events=1, group=2),
            command(uuid4(), events=0, group=3, completed=False),
        ],
    )
    appended = await store.append(batch)
    assert appended.positions == [2, 2, 3, 3]
    recorded = await store.recorded([row[:2] for row in batch.ledger])
    assert [recorded[row[:2]].position for row in batch.ledger] == [2, 2, 3, None]


async def test_a_moved_stream_drops_its_group_alone_and_leaves_no_gap(store: EventStore):
    moved, steady = uuid4(), uuid4()
    await store.append(one_command(moved))
    appended = await store.append(
        merged(one_command(moved, 0, 1), one_command(steady, 0, 2), one_command(uuid4(), 0, 3))
    )
    assert (appended.head, appended.dropped, appended.positions) == (3, frozenset({1}), [None, 2, 3])
    assert appended.repeated == {}
    assert [item.position for item in await store.read(0, 10)] == [1, 2, 3]


async def test_a_stream_that_is_behind_what_was_read_drops_its_group(store: EventStore):
    appended = await store.append(one_command(uuid4(), read=4))
    assert appended.dropped == {0}


async def test_a_decision_that_only_read_a_stream_is_dropped_when_it_moved(store: EventStore):
    read, own = uuid4(), uuid4()
    await store.append(one_command(read))
    refusal = Batch(
        reads=[ReadRow(read, 0, 5), ReadRow(own, 0, 5)], ledger=[command(own, group=5, completed=False)]
    )
    appended = await store.append(refusal)
    assert (appended.dropped, appended.positions) == ({5}, [None])
    assert await store.recorded([refusal.ledger[0][:2]]) == {}


async def test_a_stream_written_without_a_read_row_is_checked_as_well(store: EventStore):
    stream = uuid4()
    await store.append(Batch(events=[event(stream, 1)]))
    assert (await store.append(Batch(events=[event(stream, 1)]))).dropped == {0}
    assert (await store.append(Batch(events=[event(stream, 2)]))).head == 2


async def test_a_repeated_command_is_answered_from_the_ledger(store: EventStore):
    first = one_command(uuid4())
    await store.append(first)
    again = merged(first, one_command(uuid4(), 0, 1))
    appended = await store.append(again)
    row = first.ledger[0]
    assert appended.dropped == {0}
    assert appended.repeated == {row[:2]: Recorded(row.hash, row.outcome, 1)}
    assert (appended.head, appended.positions) == (2, [None, 2])


async def test_a_repeat_that_no_stream_tells_of_is_dropped_alone_and_leaves_no_gap(store: EventStore):
    first, other, new = one_command(uuid4()), one_command(uuid4()), one_command(uuid4(), 0, 2)
    await store.append(merged(first, other))
    [row], stream = first.ledger, first.events[0].stream_id
    again = Batch(events=[event(stream, 2, 1)], ledger=[row._replace(group=1)])
    appended = await store.append(merged(again, new))
    assert (appended.head, appended.dropped, appended.positions) == (3, {1}, [None, 3])
    assert appended.repeated == {row[:2]: Recorded(row.hash, row.outcome, 1)}
    assert [(item.position, item.version) for item in await store.read(0, 10)] == [(1, 1), (2, 1), (3, 1)]
    key = new.ledger[0][:2]
    assert (await store.recorded([key]))[key].position == 3


async def test_a_command_twice_in_one_batch_is_a_mistake_and_nothing_is_written(store: EventStore):
    twice = one_command(uuid4())
    with pytest.raises(psycopg.errors.UniqueViolation):
        await store.append(Batch(ledger=twice.ledger * 2))
    assert await store.recorded([twice.ledger[0][:2]]) == {}


@pytest.mark.parametrize("read", [0, 2], ids=["moved on", "behind"])
async def test_a_lone_command_is_dropped_for_its_stream_and_leaves_no_gap(store: EventStore, read: int):
    tenant = uuid4()
    await store.append(one_command(tenant))
    appended = await store.append(one_command(tenant, read, 7))
    assert (appended.head, appended.positions, appended.dropped) == (1, [None], {7})
    assert appended.repeated == {}
    appended = await store.append(one_command(tenant, 1, 7))
    assert (appended.head, appended.positions, appended.dropped) == (2, [2], frozenset())
    assert [item.position for item in await store.read(0, 10)] == [1, 2]


async def test_a_lone_command_that_is_repeated_gets_its_outcome_and_writes_nothing(store: EventStore):
    batch = one_command(uuid4(), 0, 7)
    row = batch.ledger[0]
    await store.append(batch)
    appended = await store.append(batch)
    assert (appended.head, appended.positions, appended.dropped) == (1, [None], {7})
    assert appended.repeated == {row[:2]: Recorded(row.hash, row.outcome, 1)}
    assert len(await store.read(0, 10)) == 1


async def test_a_lone_command_that_the_ledger_has_writes_nothing_though_its_stream_fits(store: EventStore):
    tenant = uuid4()
    first = one_command(tenant)
    await store.append(first)
    again = one_command(tenant, 1, 7)
    again.ledger[:] = [first.ledger[0]._replace(group=7)]
    appended = await store.append(again)
    assert (appended.head, appended.positions, appended.dropped) == (1, [None], {7})
    assert len(await store.read(0, 10)) == 1


async def test_a_batch_larger_than_the_sockets_hold_is_written_whole(store: EventStore):
    tenant = uuid4()
    large = [event(tenant, version)._replace(state=bytes(1_000_000)) for version in range(1, 9)]
    assert (await store.append(Batch(events=large))).head == 8
    assert [len(item.state) for item in await store.read(0, 10)] == [1_000_000] * 8


async def test_the_same_command_id_of_another_tenant_is_another_command(store: EventStore):
    row = command(uuid4())
    await store.append(Batch(ledger=[row]))
    appended = await store.append(Batch(ledger=[row._replace(tenant_id=uuid4())]))
    assert appended.dropped == frozenset()


async def test_a_repeat_brings_no_outcome_of_another_tenant_with_it(store: EventStore):
    others, row = command(uuid4()), command(uuid4())
    await store.append(Batch(ledger=[others, row]))
    own = others._replace(tenant_id=uuid4(), outcome=b'{"status":"own"', group=1)
    appended = await store.append(Batch(ledger=[row, own]))
    assert appended.dropped == {0}
    assert set(appended.repeated) == {row[:2]}
    assert (await store.recorded([own[:2]]))[own[:2]].outcome == own.outcome


async def test_an_empty_batch_tells_the_head(store: EventStore):
    await store.append(one_command(uuid4()))
    appended = await store.append(Batch())
    assert (appended.head, appended.positions) == (1, [])


@pytest.mark.parametrize("versions", [(1, 3), (2, 2), (2, 1)])
async def test_versions_that_do_not_follow_each_other_are_a_mistake(
    store: EventStore, versions: tuple[int, ...]
):
    stream = uuid4()
    with pytest.raises(ValueError, match="goes from version"):
        await store.append(Batch(events=[event(stream, version) for version in versions]))
    assert await store.head() == 0


async def test_a_stream_read_at_two_versions_is_a_mistake(store: EventStore):
    stream = uuid4()
    with pytest.raises(ValueError, match="read at different versions"):
        await store.append(Batch(reads=[ReadRow(stream, 0, 0), ReadRow(stream, 1, 0)]))


async def own(store: EventStore, partition: int, owner: UUID) -> None:
    async with store.transaction() as transaction:
        await transaction.connection.execute(
            "UPDATE service.command_progress SET owner = %s WHERE partition = %s", (owner, partition)
        )


PROGRESS = b"SELECT partition, sequence FROM service.command_progress WHERE sequence > 0 ORDER BY partition"


async def test_progress_moves_with_what_it_stands_for(store: EventStore):
    await own(store, 3, OWNER)
    await own(store, 9, OWNER)
    batch = one_command(uuid4())
    batch.progress += [ProgressRow(9, OWNER, 0, 17), ProgressRow(3, OWNER, 0, 4)]
    await store.append(batch)
    assert await rows(store, PROGRESS.decode()) == [(3, 4), (9, 17)]


@pytest.mark.parametrize(
    "row",
    [
        ProgressRow(3, OTHER, 0, 4),
        ProgressRow(3, OWNER, 1, 4),
        ProgressRow(4, OWNER, 0, 4),
        ProgressRow(1000, OWNER, 0, 4),
    ],
    ids=["another owner", "another sequence", "nobody's partition", "no such partition"],
)
async def test_a_stale_owner_is_fenced_and_writes_nothing(store: EventStore, row: ProgressRow):
    await own(store, 3, OWNER)
    await own(store, 5, OWNER)
    batch = one_command(uuid4())
    batch.progress += [ProgressRow(5, OWNER, 0, 1), row]
    with pytest.raises(Fenced):
        await store.append(batch)
    assert await store.head() == 0
    assert await rows(store, PROGRESS.decode()) == []
    assert await store.recorded([batch.ledger[0][:2]]) == {}


async def test_progress_stays_while_something_was_dropped(store: EventStore):
    await own(store, 3, OWNER)
    moved = uuid4()
    await store.append(one_command(moved))
    batch = merged(one_command(moved, 0, 1), one_command(uuid4(), 0, 2))
    batch.progress.append(ProgressRow(3, OWNER, 0, 2))
    appended = await store.append(batch)
    assert (appended.dropped, appended.head) == ({1}, 2)
    assert await rows(store, PROGRESS.decode()) == []


AGENDA = "SELECT operation_id, due_at, owner FROM service.saga_agenda ORDER BY due_at"


async def test_the_agenda_is_put_changed_and_taken_off(store: EventStore):
    one, two, tenant = uuid4(), uuid4(), uuid4()
    later, sooner = DUE + timedelta(days=1), DUE - timedelta(days=1)
    put = [AgendaRow(run, tenant, "provisioning", due, None, 0) for run, due in ((one, DUE), (two, later))]
    await store.append(Batch(agenda=put))
    assert await rows(store, AGENDA) == [(one, DUE, None), (two, later, None)]
    await store.append(Batch(agenda=[AgendaRow(two, tenant, "provisioning", sooner, None, 0)]))
    assert await rows(store, AGENDA) == [(two, sooner, None), (one, DUE, None)]
    await store.append(Batch(agenda=[AgendaRow(two, tenant, "provisioning", None, None, 0)]))
    assert await rows(store, AGENDA) == [(one, DUE, None)]


async def test_only_its_worker_lets_go_of_a_run(store: EventStore):
    run, tenant = uuid4(), uuid4()
    await store.append(Batch(agenda=[AgendaRow(run, tenant, "provisioning", DUE, None, 0)]))
    async with store.transaction() as transaction:
        await transaction.connection.execute("UPDATE service.saga_agenda SET owner = %s", (OWNER,))
    for worker, owner in ((None, OWNER), (OTHER, OWNER), (OWNER, None)):
        await store.append(Batch(agenda=[AgendaRow(run, tenant, "provisioning", DUE, worker, 0)]))
        assert await rows(store, AGENDA) == [(run, DUE, owner)]


async def test_the_last_word_on_an_operation_counts(store: EventStore):
    one, tenant = uuid4(), uuid4()
    await store.append(
        Batch(
            agenda=[
                AgendaRow(one, tenant, "provisioning", DUE, None, 0),
                AgendaRow(one, tenant, "provisioning", None, None, 0),
            ]
        )
    )
    assert await rows(store, "SELECT * FROM service.saga_agenda") == []


def letter(group: int = 0) -> DeadLetterRow:
    return DeadLetterRow(
        uuid4(), "unknown", "TENANT_COMMANDS", 9, "invalid-command", "tenants.x", "{}", b"\0{", "no", group
    )


async def test_dead_letters_and_agenda_of_a_dropped_group_are_not_written(store: EventStore):
    moved = uuid4()
    await store.append(one_command(moved))
    batch = one_command(moved, 0, 1)
    kept, run = letter(2), uuid4()
    batch.dead_letters += [letter(1), kept]
    batch.keys += [KeyRow(moved, uuid4(), b"dropped", 1), KeyRow(uuid4(), uuid4(), b"kept", 2)]
    batch.agenda += [
        AgendaRow(uuid4(), moved, "provisioning", DUE, None, 1),
        AgendaRow(run, moved, "provisioning", DUE, None, 2),
    ]
    await store.append(batch)
    letters = await rows(store, "SELECT id, body, published_at FROM service.dead_letters")
    assert letters == [(kept.id, b"\0{", None)]
    assert await rows(store, "SELECT operation_id FROM service.saga_agenda") == [(run,)]
    assert await rows(store, "SELECT wrapped FROM service.tenant_keys") == [(b"kept",)]


async def test_a_new_key_of_a_tenant_whose_key_is_destroyed_is_not_kept(store: EventStore):
    erased, other = uuid4(), uuid4()
    async with store.transaction() as transaction:
        await transaction.connection.execute(
            "INSERT INTO service.tenant_keys (key_id, tenant_id, created_at, destroyed_at)"
            " VALUES (%s, %s, now(), now())",
            (uuid4(), erased),
        )
    batch = one_command(erased)
    batch.keys += [KeyRow(erased, uuid4(), b"of the erased", 0), KeyRow(other, uuid4(), b"of the other", 0)]
    assert (await store.append(batch)).head == 1
    kept = await rows(store, "SELECT tenant_id FROM service.tenant_keys WHERE wrapped IS NOT NULL")
    assert kept == [(other,)]


async def test_the_same_dead_letter_is_written_once(store: EventStore):
    same = letter()
    await store.append(Batch(dead_letters=[same]))
    await store.append(Batch(dead_letters=[same]))
    assert len(await rows(store, "SELECT id FROM service.dead_letters")) == 1


def times(log: Iterable[StoredEvent], tenant: UUID) -> list[datetime]:
    return [item.recorded_at for item in log if item.tenant_id == tenant]


async def test_times_never_fall_within_a_tenant(store: EventStore):
    # Given the clock was a month ahead for one commit of one tenant, and was put right
    met, other = uuid4(), uuid4()
    await store.append(one_command(met))
    ahead = datetime.now(UTC) + timedelta(days=30)
    async with store.transaction() as transaction:
        await transaction.connection.execute("UPDATE service.events SET recorded_at = %s", (ahead,))
    # When both it and another tenant go on, alone and in one batch
    await store.append(one_command(other))
    await store.append(one_command(met, 1))
    await store.append(Batch(events=[event(other, 2, 0), event(met, 3, 1), event(other, 3, 0)]))
    await store.append(one_command(other, 3))
    # Then only the tenant that met that clock keeps its time
    log = await store.read(0, 10)
    assert times(log, met) == [ahead] * 3
    now = datetime.now(UTC)
    assert all(now - timedelta(minutes=1) < at <= now + timedelta(seconds=1) for at in times(log, other))
    assert times(log, other) == sorted(times(log, other))
    assert await rows(store, "SELECT recorded_at FROM service.event_head") == [(ahead,)]
    # And what is not a tenant's has the clock's time
    assert await rows(store, "SELECT count(*) FROM service.command_ledger WHERE decided_at > now()") == [(0,)]


async def test_a_mark_that_the_clock_left_behind_is_passed(store: EventStore):
    tenant = uuid4()
    before = datetime.now(UTC) - timedelta(hours=1)
    async with store.transaction() as transaction:
        await transaction.connection.execute("UPDATE service.event_head SET recorded_at = %s", (before,))
    await store.append(one_command(tenant))
    await store.append(one_command(tenant, 1))
    assert times(await store.read(0, 10), tenant) > [before + timedelta(minutes=59)]
    assert await rows(store, "SELECT recorded_at FROM service.event_head") == [(before,)]


async def test_no_append_makes_a_new_version_of_the_row_that_orders_all(store: EventStore):
    # Given the row as it stands: an older snapshot would keep each of its versions, for all to walk through
    version = "SELECT ctid::text, xmin::text FROM service.event_lock"
    before = await rows(store, version)
    # When commands come alone and in batches, are repeated, refused and rolled back
    tenant = uuid4()
    lone = one_command(tenant)
    for batch in (lone, lone, one_command(tenant, 1), one_command(tenant, 7)):
        await store.append(batch)
    await store.append(Batch(events=[event(uuid4(), 1), event(uuid4(), 1)]))
    async with store.transaction() as transaction:
        await transaction.append(Batch(events=[event(uuid4(), 1)]))
        raise psycopg.Rollback
    # Then it is the same row
    assert await rows(store, version) == before
    assert [item.position for item in await store.read(0, 10)] == [1, 2, 3, 4]


async def test_writers_at_once_are_put_in_one_gapless_order(store_url: str):
    streams = [uuid4() for _ in range(5)]
    async with EventStore(store_url) as one, EventStore(store_url) as two, EventStore(store_url) as three:

        async def write(store: EventStore) -> int:
            written = 0
            for turn in range(30):
                stream = streams[turn % 5]
                version = len(await store.read_tenant(stream, 0, None, 1000))
                appended = await store.append(one_command(stream, version))
                written += not appended.dropped
            return written

        written = sum(await asyncio.gather(write(one), write(two), write(three)))
        log = await one.read(0, 1000)
    assert [item.position for item in log] == list(range(1, written + 1))
    for stream in streams:
        versions = [item.version for item in log if item.stream_id == stream]
        assert versions == list(range(1, len(versions) + 1))
    assert [item.recorded_at for item in log] == sorted(item.recorded_at for item in log)


async def test_a_writer_waits_for_the_one_before_it_and_neither_is_decided_again(store: EventStore):
    async with store.transaction() as transaction:
        await transaction.append(one_command(uuid4()))
        behind = asyncio.create_task(store.append(one_command(uuid4(), 0, 1)))
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        async with asyncio.timeout(20):
            while not (await transaction.connection.execute(waiting)).rowcount:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    appended = await behind
    assert (appended.head, appended.positions, appended.dropped) == (2, [2], frozenset())


async def test_effects_and_events_of_a_transaction_are_committed_together(store: EventStore):
    async with store.transaction() as transaction:
        await transaction.connection.execute("CREATE TABLE effect (id int)")
        appended = await transaction.append(one_command(uuid4()))
        assert appended.head == 1
    assert await store.head() == 1
    assert await rows(store, "SELECT * FROM effect") == []


async def leave(store: EventStore, batch: Batch, error: Exception | None = None) -> None:
    async with store.transaction() as transaction:
        await transaction.connection.execute("CREATE TABLE effect (id int)")
        await transaction.append(batch)
        if error is not None:
            raise error


async def test_a_transaction_left_by_an_exception_has_neither(store: EventStore):
    with pytest.raises(RuntimeError, match="no further"):
        await leave(store, one_command(uuid4()), RuntimeError("no further"))
    assert await store.head() == 0
    with pytest.raises(psycopg.errors.UndefinedTable):
        await rows(store, "SELECT * FROM effect")
    assert (await store.append(one_command(uuid4()))).head == 1


async def test_a_rollback_ends_quietly(store: EventStore):
    await leave(store, one_command(uuid4()), psycopg.Rollback())
    assert await store.head() == 0


async def test_a_fenced_transaction_has_no_effects(store: EventStore):
    with pytest.raises(Fenced):
        await leave(store, Batch(progress=[ProgressRow(3, OTHER, 0, 4)]))
    with pytest.raises(psycopg.errors.UndefinedTable):
        await rows(store, "SELECT * FROM effect")
