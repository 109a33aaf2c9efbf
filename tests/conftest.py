"""The real servers that tests run against."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from deploy.embedded import EmbeddedStack
from handlers.adapters import jetstream
from handlers.adapters.tasks import keep_cancellations
from tests.support import surroundings
from tests.support.processes import Restarts
from tests.support.servers import SharedStack, copy_folder, prepare_folder, public_folder
from tests.support.waiting import PATIENCE

pytest_plugins = ["tests.support.limits"]

surroundings.forget()
keep_cancellations()

settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False, max_examples=1000)
settings.load_profile("steady")
"""A run draws the same examples each time, and fails for no other reason than a change, on a slow machine
too. Others are found by `make test ARGS='--hypothesis-profile=explore'`."""


LONGEST = (
    "tests/simulation/test_pairs.py",
    "tests/journeys/test_client.py",
    "tests/simulation/test_crashes.py",
    "tests/suite/test_limits.py",
    "tests/simulation/test_operators.py",
    "tests/faults/",
    "tests/simulation/test_journeys.py",
    "tests/deploy/test_demo.py",
    "tests/simulation/test_outages.py",
    "tests/journeys/",
    "tests/simulation/",
    "tests/deploy/test_installing.py",
    "tests/documents/",
    "tests/handlers/cli/test_serving.py",
    "tests/handlers/saga_runner/",
    "tests/handlers/adapters/test_erasure.py",
)
"""The longest files first, as measured; what computes alternates with what waits."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files run first, so that no worker is left with one at the end."""
    items.sort(
        key=lambda item: next((n for n, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST))
    )


@pytest.fixture(autouse=True)
def patient_jetstream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for answers of the shared nats-server however long it stalls.

    The service gives up soon and asks again; what a test asks once must not fail by that. A server of the
    test's own may be killed: what it was asked then is never answered.
    """
    if "stack" in request.fixturenames and "data_dir" not in request.fixturenames:
        monkeypatch.setattr(jetstream, "TIMEOUT", PATIENCE)


@pytest.fixture(scope="session")
def stack(prepared_dir: Path) -> Iterator[SharedStack]:
    """The one stack of this process; never kill or pause it."""
    with SharedStack(prepared_dir) as shared:
        yield shared


@pytest.fixture
async def postgres_url(stack: SharedStack) -> AsyncIterator[str]:
    """An empty database of this test's own, owned by the service's role; dropped afterwards."""
    url = await stack.fresh_database()
    yield url
    await stack.drop_database(url)


@pytest.fixture
async def store_url(stack: SharedStack) -> AsyncIterator[str]:
    """A migrated database of this test's own, owned by the service's role; dropped afterwards."""
    url = await stack.migrated_database()
    yield url
    await stack.drop_database(url)


@pytest.fixture
async def read_url(stack: SharedStack) -> AsyncIterator[str]:
    """A database of this test's own as `store_url`, with the read models made."""
    url = await stack.projected_database()
    yield url
    await stack.drop_database(url)


@pytest.fixture
def nats_url(stack: SharedStack) -> str:
    """The shared nats-server: use subjects and stream names that no other test uses."""
    return stack.nats_url


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Where a stack of this test's own may have its folder, which is not there yet."""
    folder = public_folder()
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def prepared_dir() -> Iterator[Path]:
    """A data folder whose first start is over, for others to be copied from."""
    folder = public_folder()
    prepare_folder(folder / "data")
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def warm_dir(prepared_dir: Path, data_dir: Path) -> Path:
    """A data folder of this test's own whose first start is over."""
    copy_folder(prepared_dir, data_dir)
    return data_dir


@pytest.fixture
def restarts() -> Restarts:
    """The names of the servers of `own_stack` that came back, in order."""
    return Restarts()


@pytest.fixture
async def own_stack(warm_dir: Path, restarts: Restarts) -> AsyncIterator[EmbeddedStack]:
    """A started stack of this test's own, to kill, pause and stop."""
    async with EmbeddedStack(warm_dir, on_restart=restarts.put_nowait) as private:
        yield private
