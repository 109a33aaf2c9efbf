"""Settings: what an operator writes into the environment, and what holds where he writes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handlers.settings import STEP_LIMITS, Unknown, load, unknown
from sagas.registry import SAGAS


def test_a_limit_for_one_step_leaves_those_of_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TENANTS_SAGA_STEP_LIMITS", "close_access=3, notify=20")
    assert load().saga_step_limits == {**STEP_LIMITS, "close_access": 3, "notify": 20}


def test_limits_of_steps_name_steps_that_there_are():
    assert set(STEP_LIMITS) <= {step.name for saga in SAGAS.values() for step in saga.steps}


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without a variable of ours."""
    for name in [name for name in os.environ if name.upper().startswith("TENANTS_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_a_variable_that_is_no_setting_is_known_also_from_a_file(
    nothing_set: pytest.MonkeyPatch, tmp_path: Path
):
    file = tmp_path / "production.env"
    file.write_text("TENANTS_HTTP_PROT=7\nTENANTS_HTTP_PORT=7\n")
    nothing_set.setenv("TENANTS_ENV_FILE", str(file))
    nothing_set.setenv("tenants_pool_size", "3")
    nothing_set.setenv("TENANTS_XYZZY", "1")
    assert unknown() == [Unknown("TENANTS_HTTP_PROT", "TENANTS_HTTP_PORT"), Unknown("TENANTS_XYZZY", None)]


def test_what_kubernetes_tells_of_a_service_is_no_mistake(nothing_set: pytest.MonkeyPatch):
    for name in ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8085_TCP_ADDR"):
        nothing_set.setenv(f"TENANTS_{name}", "10.0.0.7")
    assert unknown() == []
