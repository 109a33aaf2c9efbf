"""Where the servers are: what a person is told who cannot reach them, and why."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers import logs
from handlers.cli.where import Common, bus, explained
from handlers.store.errors import StoreUnavailable
from tenant_domain.refusals import Unavailable

LOST = StoreUnavailable("no connection to the database")


@pytest.fixture(autouse=True)
def logs_as_they_are(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the logs of this process to its other tests."""

    def configure(*_: object) -> None:
        pass

    monkeypatch.setattr(logs, "configure", configure)
    level = logging.getLogger("psycopg").level
    yield
    logging.getLogger("psycopg").setLevel(level)


async def test_who_has_started_nothing_is_told_how_to(nothing_set: pytest.MonkeyPatch, tmp_path: Path):
    told = str(await explained(Common(data_dir=tmp_path), LOST))
    assert "postgresql://127.0.0.1:5432/tenants" in told
    assert "Start `tenantctl dev`, name its folder with --data-dir, or set TENANTS_POSTGRES_URL." in told


async def test_a_wrong_password_is_told_of_and_not_shown(
    nothing_set: pytest.MonkeyPatch, tmp_path: Path, postgres_url: str, nats_url: str
):
    scheme, _, rest = postgres_url.partition("://")
    user, place = rest.partition(":")[0], rest.rpartition("@")[2]
    nothing_set.setenv("TENANTS_POSTGRES_URL", f"{scheme}://{user}:swordfish@{place}")
    told = str(await explained(Common(data_dir=tmp_path), LOST))
    assert "password authentication failed" in told
    assert place in told
    assert "swordfish" not in told

    place = nats_url.rpartition("@")[2]
    nothing_set.setenv("TENANTS_NATS_URL", f"nats://service:swordfish@{place}")
    with pytest.raises(Unavailable, match=f"NATS server at nats://{place} does not know these"):
        async with bus(Common(data_dir=tmp_path)):
            pass


async def test_trouble_of_a_database_that_answers_is_told_as_it_is(
    nothing_set: pytest.MonkeyPatch, tmp_path: Path, postgres_url: str
):
    nothing_set.setenv("TENANTS_POSTGRES_URL", postgres_url)
    assert await explained(Common(data_dir=tmp_path), LOST) is LOST
