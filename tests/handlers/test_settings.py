"""Settings: what an operator writes into the environment, and what holds where he writes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from handlers.cli.exits import Misuse
from handlers.cli.where import given_settings
from handlers.settings import STEP_LIMITS, Settings, Unknown, load, unit, unknown
from sagas.registry import SAGAS


def test_a_limit_for_one_step_leaves_those_of_the_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TENANTS_SAGA_STEP_LIMITS", "close_access=3, notify=20")
    assert load().saga_step_limits == {**STEP_LIMITS, "close_access": 3, "notify": 20}


def test_limits_of_steps_name_steps_that_there_are():
    assert set(STEP_LIMITS) <= {step.name for saga in SAGAS.values() for step in saga.steps}


@pytest.mark.parametrize(
    ("variable", "wrong", "right"),
    [
        ("NATS_URL", "http://localhost:8085", "localhost:4222"),
        ("POSTGRES_URL", "localhost", "host=/run/postgresql dbname=tenants"),
        ("POSTGRES_URL", "mysql://u:swordfish@h/d", "postgres://u:swordfish@h/d"),
        ("OBJECTS_URL", "gs://bucket", "s3://?region=eu-central-1"),
        ("SMTP_URL", "mail.example:25", "smtps://mail.example"),
    ],
)
def test_a_url_that_no_client_could_use_is_refused_with_an_example(
    monkeypatch: pytest.MonkeyPatch, variable: str, wrong: str, right: str
):
    monkeypatch.setenv(f"TENANTS_{variable}", wrong)
    with pytest.raises(ValidationError) as refused:
        load()
    (error,) = refused.value.errors()
    assert (error["loc"], "must be a URL such as" in error["msg"]) == ((variable.lower(),), True)
    assert "swordfish" not in error["msg"]
    monkeypatch.setenv(f"TENANTS_{variable}", right)
    assert getattr(load(), variable.lower())


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("POSTGRES_URL", "postgresql://tenants:sword fish@db:5432/tenants"),
        ("POSTGRES_URL", "postgresql://tenants:sword%fish@db:5432/tenants"),
        ("POSTGRES_URL", "postgresql://tenants:sword@fish@db:5432/tenants"),
        ("POSTGRES_URL", "postgresql://tenants:sword/fish@db:5432/tenants"),
        ("POSTGRES_URL", "postgresql://tenants:sword:fish/@db:5432/tenants"),
        ("POSTGRES_URL", "host=db password=sword fish"),
        ("SMTP_URL", "smtp://tenants:sword/fish@mail:587"),
    ],
)
def test_a_password_that_nobody_can_read_is_refused_and_not_told(
    nothing_set: pytest.MonkeyPatch, variable: str, url: str
):
    nothing_set.setenv(f"TENANTS_{variable}", url)

    with pytest.raises(Misuse) as refused:
        given_settings()

    said = str(refused.value)
    assert said.startswith(f"settings do not fit: TENANTS_{variable}: cannot be read: ")
    assert not {"sword", "fish"} & set(re.findall("[a-z]+", said))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tenants:sword%20%40%2Ffish@db:5432,standby:5433/tenants?target_session_attrs=read-write",
        "postgresql:///tenants?host=/run/postgresql",
        "host=db password='sword fish'",
    ],
)
def test_a_password_that_is_written_as_libpq_reads_it_is_taken(nothing_set: pytest.MonkeyPatch, url: str):
    nothing_set.setenv("TENANTS_POSTGRES_URL", url)
    assert load().postgres_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("variable", "wrong"),
    [
        *(
            (name, each)
            for name in ("COMMAND_RETENTION", "SAGA_LEASE", "TENANT_IDLE_LIMIT")
            for each in ("inf", "nan", "1e24")
        ),
        *(
            (name, each)
            for name in ("POOL_SIZE", "RELAY_WINDOW", "CACHED_STATES")
            for each in (str(2**31), "9" * 5000)
        ),
        *((name, str(2**63)) for name in ("COMMANDS_MAX_BYTES", "DEAD_LETTERS_MAX_BYTES")),
        *(
            (name, each)
            for name in ("HTTP_HOST", "TOKEN_ISSUER", "TOKEN_AUDIENCE")
            for each in ("", " ", "a\x01b")
        ),
        *(
            ("CORS_ORIGINS", each)
            for each in ("console.example", "https://a.example/b", "https://a.example,x")
        ),
        *(("METRICS_OF", each) for each in ("http://127.0.0.1:9101", "one=", "one=ftp://x")),
        *(("NATS_URL", each) for each in ("a" * 70_000, "nats://u:swordfish@h:0", "\x01")),
        *(("SAGA_STEP_LIMITS", each) for each in ("notify=0", "notify=1.5", "=1", "x" * 70_000)),
        ("MASTER_KEY_FILE", ""),
        ("OTLP_ENDPOINT", "collector:4318"),
    ],
)
def test_what_no_part_could_use_is_refused_in_a_short_sentence_that_names_the_setting(
    nothing_set: pytest.MonkeyPatch, variable: str, wrong: str
):
    nothing_set.setenv(f"TENANTS_{variable}", wrong)
    with pytest.raises(Misuse, match=f"TENANTS_{variable}") as refused:
        given_settings()
    assert len(str(refused.value)) < 1000
    assert "swordfish" not in str(refused.value)


def test_several_nats_servers_stand_in_one_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TENANTS_NATS_URL", "nats://u:swordfish@one:4222, nats://u:swordfish@two:4223")
    assert load().nats_servers == ["nats://u:swordfish@one:4222", "nats://u:swordfish@two:4223"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("nats://u:swordfish@one:4222,http://u:swordfish@two:4223", "server 2 (two:4223)"),
        ("nats://u:swordfish@one:port,nats://two:4223", "server 1 (one:port)"),
        ("nats://one:4222,", "server 2 (which is empty)"),
        ("nats://one:4222;nats://two:4222", "server 1 (nats://one:4222;nats://two:4222)"),
    ],
)
def test_each_of_several_nats_servers_is_checked_and_the_wrong_one_named(
    monkeypatch: pytest.MonkeyPatch, wrong: str, named: str
):
    monkeypatch.setenv("TENANTS_NATS_URL", wrong)
    with pytest.raises(ValidationError) as refused:
        load()
    (error,) = refused.value.errors()
    assert named in error["msg"]
    assert "swordfish" not in error["msg"]


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


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"REGIONS": "mars,moon"}, ("DEFAULT_REGION", "REGIONS", "mars")),
        ({"SAGA_STEP_LIMITS": "close_acess=3"}, ("SAGA_STEP_LIMITS", "close_acess")),
        ({"BATCH_SIZE": "100", "WAITING_COMMANDS": "10"}, ("BATCH_SIZE", "WAITING_COMMANDS")),
        ({"COMMAND_RETENTION": "5"}, ("COMMAND_RETENTION", "COMMAND_TRIES", "UNAVAILABLE_AFTER")),
        ({"METRICS_PORT": "7000", "HTTP_PORT": "7000"}, ("METRICS_PORT", "HTTP_PORT")),
        ({"OBJECTS_ACCESS_KEY": "id"}, ("OBJECTS_ACCESS_KEY", "OBJECTS_SECRET_KEY")),
        ({"MASTER_KEY_FILE": "k", "SIGNING_KEY_FILE": "k"}, ("MASTER_KEY_FILE", "SIGNING_KEY_FILE")),
    ],
)
def test_settings_that_contradict_each_other_are_refused_in_a_sentence_that_names_both(
    nothing_set: pytest.MonkeyPatch, given: dict[str, str], named: tuple[str, ...]
):
    for name, value in given.items():
        nothing_set.setenv(f"TENANTS_{name}", value)
    with pytest.raises(Misuse) as refused:
        given_settings()
    assert all(name in str(refused.value) for name in named), str(refused.value)


def test_whatever_is_measured_has_a_unit():
    units = {name: unit(name) for name in Settings.model_fields}
    assert (units["unavailable_after"], units["commands_max_bytes"], units["pool_size"]) == (
        "seconds",
        "bytes",
        None,
    )
