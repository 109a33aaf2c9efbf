"""Settings: what an operator writes into the environment, and what holds where he writes nothing."""

from __future__ import annotations

import pytest

from handlers.settings import STEP_LIMITS, load
from sagas.registry import SAGAS


def test_a_limit_for_one_step_leaves_those_of_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TENANTS_SAGA_STEP_LIMITS", "close_access=3, notify=20")
    assert load().saga_step_limits == {**STEP_LIMITS, "close_access": 3, "notify": 20}


def test_limits_of_steps_name_steps_that_there_are():
    assert set(STEP_LIMITS) <= {step.name for saga in SAGAS.values() for step in saga.steps}
