"""A short round of chaos: kills, freezes and restarts of every part, under load."""

from __future__ import annotations

import shutil

import pytest

from tests.faults.round import run
from tests.support.servers import public_folder


@pytest.mark.faults
async def test_every_promise_is_kept_through_a_short_round_of_chaos():
    folder = public_folder()
    report = await run(folder / "data", seconds=10, seed=20261123, writers=4, tenants=3)
    shutil.rmtree(folder)
    assert report.harms.total() > 0
    assert report.promises > 0
    assert report.broken == []
