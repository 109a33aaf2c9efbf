"""The read side, for the projector, the queries and their door; a server that speaks S3; no settings."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from moto.server import ThreadedMotoServer

from tests.support.readside import ReadSide, read_side


@pytest.fixture
async def side(read_url: str) -> AsyncIterator[ReadSide]:
    """Read models on a log of this test's own; nothing runs by itself."""
    async with read_side(read_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Where an object store speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without a variable of ours."""
    for name in [name for name in os.environ if name.upper().startswith("TENANTS_")]:
        monkeypatch.delenv(name)
    return monkeypatch
