"""`tenantctl replay` over a log that holds what this version cannot read."""

from uuid import uuid4

import pytest

from handlers.store.event_store import EventStore
from tests.handlers.cli.conftest import CommandLine
from tests.support.log import facts


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (b"state = '\\xff'", "is not a tenant.profile_updated"),
        (b"topic = 'tenant.from_tomorrow'", "does not know tenant.from_tomorrow"),
    ],
)
async def test_an_event_that_cannot_be_read_ends_no_replay_and_the_exit_code_tells(
    store_url: str, unserved: CommandLine, change: bytes, reason: str
) -> None:
    # Given a log of five events, one of them broken
    async with EventStore(store_url) as store:
        await store.append(facts(3, tenant=(tenant := uuid4())))
        await store.append(facts(2))
        async with store.transaction() as transaction:
            statement = b"UPDATE service.events SET " + change + b" WHERE notification_id = 2"
            await transaction.connection.execute(statement)
    env = {"TENANTS_POSTGRES_URL": store_url}
    # When it is replayed, then all are there, with the reason at that one
    replayed = unserved("replay", "--sealed", env=env)
    assert [fact["position"] for fact in replayed.lines] == [1, 2, 3, 4, 5]
    assert [reason in fact.get("unreadable", "") for fact in replayed.lines] == [False, True] + [False] * 3
    assert (replayed.code, "1 lines tell" in replayed.err) == (1, True)
    # And the states stand before that event
    folded = unserved("replay", "--sealed", "--fold", env=env)
    stopped = next(state for state in folded.lines if state["tenant_id"] == str(tenant))
    assert (stopped["position"], "at position 2" in stopped["unreadable"], len(folded.lines)) == (1, True, 2)
    assert folded.code == 1
    # And what comes before it is as ever
    assert unserved("replay", "--sealed", "--to", 1, env=env).code == 0
