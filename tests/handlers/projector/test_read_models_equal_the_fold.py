"""Read models equal the fold of the log, whatever the log, the batches and the cache."""

from typing import Any
from uuid import UUID

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_domain.operation.state import Operation
from tests.support.histories import History, Move, moves
from tests.support.readside import ReadSide


async def rows_of(side: ReadSide, model: str) -> dict[UUID, tuple[Any, ...]]:
    ((generation,),) = await side.fetch(
        "SELECT generation FROM service.projections WHERE live AND name = %s", model
    )
    rows = await side.fetch(
        f"SELECT stream_id, version, state, body, parked FROM service.rm_{model}_{generation}"
    )
    return {row[0]: row[1:] for row in rows}


async def assert_equal_to_the_fold(side: ReadSide, history: History) -> None:
    found = {"tenant": await rows_of(side, "tenants"), "operation": await rows_of(side, "operations")}
    for stream, facts in history.facts.items():
        entity = facts[0].name.partition(".")[0]
        if entity not in found:
            continue
        version, state, body, parked = found[entity][stream]
        folded = history.folded(stream, entity)
        assert (version, parked) == (len(facts), 0)
        assert state == msgspec.json.encode(folded)
        answer = msgspec.json.decode(body)
        assert answer["status"] == folded.status.value
        if isinstance(folded, Operation):
            assert [step["name"] for step in answer["steps"]] == [step.name for step in folded.steps]
            assert answer["finished_at"] == msgspec.to_builtins(folded.finished_at)
        else:
            assert answer["version"] == version
            assert answer["settings"] == folded.settings
            assert answer["name"] == folded.name


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(random_moves=moves, batch=st.integers(1, 40), remembered=st.integers(0, 6))
async def test_the_rows_equal_the_fold_of_each_stream(
    side: ReadSide, random_moves: list[Move], batch: int, remembered: int
) -> None:
    history = side.history = History()
    history.run(random_moves)
    await side.project(side.another_projector(batch=batch, remembered=remembered))
    await assert_equal_to_the_fold(side, history)


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(random_moves=moves)
async def test_a_rebuilt_read_model_equals_the_projected_one(
    side: ReadSide, random_moves: list[Move]
) -> None:
    side.history.run(random_moves)
    await side.project()
    projected = [await rows_of(side, model) for model in ("tenants", "operations")]
    await side.make()
    assert [await rows_of(side, model) for model in ("tenants", "operations")] == projected


async def test_all_read_models_are_at_the_same_position(side: ReadSide) -> None:
    side.history.operation(side.history.tenant())
    await side.project()
    head = await side.store.head()
    positions = await side.fetch("SELECT position FROM service.projections WHERE live")
    assert positions == [(head,), (head,)]
    assert side.moves[-1].upto == head


async def test_the_search_index_is_there(side: ReadSide) -> None:
    """The embedded server carries pg_trgm; without it search still answers, by scanning."""
    indexes = await side.fetch("SELECT indexdef FROM pg_indexes WHERE schemaname = 'service'")
    assert any("gin_trgm_ops" in definition for (definition,) in indexes)
