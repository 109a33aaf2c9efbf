"""The service itself by the command line: settings, tokens, health; and what is said when nothing runs."""

import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from rich.cells import cell_len

from handlers.cli.app import app
from handlers.http_edge.tokens import Signer
from handlers.settings import Settings
from tests.handlers.cli.conftest import ROOT, CommandLine

NOWHERE = {
    "TENANTS_NATS_URL": "nats://someone:secret@127.0.0.1:1",
    "TENANTS_POSTGRES_URL": "postgresql://someone:secret@127.0.0.1:1/nothing",
}
TENANT = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"


def test_a_doctor_finds_a_running_service_well(tenantctl: CommandLine) -> None:
    result = tenantctl.json("doctor")
    findings = {finding["what"]: finding for finding in result.lines}
    broken = [finding for finding in findings.values() if finding["state"] == "broken"]
    assert (result.code, broken) == (0, [])
    assert findings["erasure"]["state"] == "ok"
    assert {"nats", "postgres", "commands", "queries", "relay", "live context", "sagas", "http"} <= set(
        findings
    )
    assert "what" in tenantctl("doctor").out


def test_every_finding_of_a_doctor_is_on_the_page_for_operators(tenantctl: CommandLine) -> None:
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \|", page[page.index("| finding |") :], re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(.*?)`", row)]
    found = [finding["what"] for finding in tenantctl.json("doctor").lines]
    missing = [what for what in found if not any(fnmatch(what, name.replace("…", "*")) for name in named)]
    assert not missing


def test_a_doctor_names_what_is_not_there(lonely: CommandLine) -> None:
    result = lonely.json("doctor", env=NOWHERE)
    states = {finding["what"]: finding["state"] for finding in result.lines}
    assert result.code == 3
    assert states["nats"] == states["postgres"] == "broken"
    assert all(finding["advice"] for finding in result.lines if finding["state"] == "broken")
    assert "secret" not in result.out + result.err


@pytest.mark.parametrize(
    "words",
    [
        ("tenants", "list"),
        ("events", "tail"),
        ("replay",),
        ("projections", "status"),
        ("context", "rebuild"),
        ("dead-letters", "list"),
    ],
)
def test_servers_that_are_not_there_are_exit_code_3(lonely: CommandLine, words: tuple[str, ...]) -> None:
    result = lonely(*words, env=NOWHERE)
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("unavailable: ")
    assert "secret" not in result.err
    assert "Traceback" not in result.err


def test_a_setting_that_does_not_fit_is_named(lonely: CommandLine) -> None:
    for words in (("tenants", "list"), ("settings",), ("doctor",)):
        result = lonely(*words, env={"TENANTS_PARTITIONS": "many"})
        assert result.code in (1, 2)
        assert "TENANTS_PARTITIONS" in result.err + result.out


def test_settings_come_from_a_file_that_must_be_there(lonely: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "production.env"
    named = {"TENANTS_ENV_FILE": str(file)}
    missing = lonely("settings", env=named)
    assert (missing.code, missing.out) == (2, "")
    assert f"TENANTS_ENV_FILE names '{file}'" in missing.err
    file.write_text("TENANTS_HTTP_PORT=7\n")
    listed = {line["variable"]: line for line in lonely.json("settings", env=named).lines}
    assert listed["TENANTS_HTTP_PORT"]["value"] == 7


TYPO = {"TENANTS_POSTGRES_ULR": "postgresql://u:swordfish@h/d"}


def test_a_variable_that_is_no_setting_is_told_of_with_the_nearest_one(lonely: CommandLine) -> None:
    told = lonely("settings", env=TYPO)
    assert "TENANTS_POSTGRES_ULR is no setting" in told.err
    assert "did you mean TENANTS_POSTGRES_URL?" in told.err
    (found,) = [
        finding
        for finding in lonely.json("doctor", env={**NOWHERE, **TYPO}).lines
        if finding["what"] == "TENANTS_POSTGRES_ULR"
    ]
    assert (found["state"], "did you mean TENANTS_POSTGRES_URL?" in found["advice"]) == ("look", True)
    assert "swordfish" not in told.err + told.out + str(found)


@pytest.mark.parametrize("words", [("serve",), ("dev", "--data-dir", "no folder")])
def test_who_runs_the_service_is_told_of_a_variable_that_is_no_setting(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "no folder").touch()
    result = subprocess.run(
        [sys.executable, "-m", "deploy.tenantctl", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **TYPO, "TENANTS_MASTER_KEY_FILE": str(tmp_path / "none")},
        check=False,
    )
    assert result.returncode != 0
    assert "TENANTS_POSTGRES_ULR" in result.stderr
    assert "TENANTS_POSTGRES_URL" in result.stderr
    assert "swordfish" not in result.stderr


def test_all_settings_are_listed_and_secrets_are_not(lonely: CommandLine) -> None:
    given = {
        "TENANTS_NATS_URL": "nats://u:swordfish@h",
        "TENANTS_REGIONS": "mars, moon",
        "TENANTS_DEFAULT_REGION": "moon",
        "TENANTS_HTTP_PORT": "1",
    }
    result = lonely.json("settings", env=given)
    listed = {line["variable"]: line for line in result.lines}
    assert set(listed) == {f"TENANTS_{name.upper()}" for name in Settings.model_fields}
    assert set(listed["TENANTS_HTTP_PORT"]) == {
        "variable",
        "value",
        "default",
        "unit",
        "set",
        "meaning",
    }
    assert (listed["TENANTS_HTTP_PORT"]["value"], listed["TENANTS_HTTP_PORT"]["default"]) == (1, 8085)
    assert listed["TENANTS_REGIONS"]["value"] == "mars,moon"
    assert listed["TENANTS_NATS_URL"]["value"] == "********"
    assert "swordfish" not in result.out
    table = lonely("settings")
    assert "TENANTS_SIGNING_KEY_FILE" in table.out


def test_a_token_is_signed_with_the_stacks_key(tenantctl: CommandLine, running_dir: Path) -> None:
    signer = Signer.from_file(running_dir / "keys" / "signing.pem")
    printed = tenantctl("token", "--user", "ada", "--role", "viewer", "--tenant", TENANT)
    caller = signer.caller(printed.out.strip())
    assert (caller.subject, caller.tenant, caller.role) == ("ada", TENANT, "viewer")
    record = tenantctl.json("token", "--user", "ops", "--role", "operator").record
    assert signer.caller(record["token"]).role == "operator"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--role", "operator", "--tenant", TENANT), "leave out the tenant"),
        (("--role", "boss", "--tenant", TENANT), "operator, owner, admin, member, viewer"),
        (("--role", "viewer"), "name its tenant"),
        (("--role", "operator", "--hours", "-1"), "a second at least"),
        (("--role", "operator", "--hours", "nan"), "a second at least"),
        (("--role", "operator", "--hours", "inf"), "a century at most"),
        (("--role", "operator", "--user", "a\nb"), "can be printed"),
    ],
    ids=str,
)
def test_a_token_that_nobody_could_use_is_not_signed(
    tenantctl: CommandLine, words: tuple[str, ...], told: str
) -> None:
    user = () if "--user" in words else ("--user", "ada")
    refused = tenantctl("token", *user, *words)
    assert (refused.code, refused.out) == (2, "")
    assert told in refused.err


def test_a_token_needs_a_key(lonely: CommandLine, tmp_path: Path) -> None:
    result = lonely("token", "--user", "ops", "--role", "operator")
    assert result.code == 2
    assert "TENANTS_SIGNING_KEY_FILE" in result.err
    missing = lonely("token", "--user", "ops", "--role", "operator", "--key-file", tmp_path / "none.pem")
    assert missing.code == 2
    assert "openssl" in missing.err


def test_a_broken_folder_is_misuse(lonely: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "endpoints.json").write_text("{")
    result = lonely("tenants", "list", data_dir=tmp_path)
    assert result.code == 2
    assert "endpoints.json" in result.err


def every_help() -> list[tuple[str, ...]]:
    """The words of every command, groups included."""
    found: list[tuple[str, ...]] = [()]
    for name in app:
        if name.startswith("-"):
            continue
        found.append((name,))
        found += [(name, inner) for inner in app[name] if not inner.startswith("-")]
    return found


def test_a_groups_help_tells_what_each_command_is_for(lonely: CommandLine) -> None:
    for words in every_help():
        listed = [line for line in lonely(*words, "--help").out.splitlines() if line.startswith("│ ")]
        names = [line.strip("│ ") for line in listed if line[2] != " "]
        assert [name for name in names if " " not in name] == []


@pytest.mark.parametrize("words", every_help(), ids=" ".join)
def test_help_teaches_every_command(lonely: CommandLine, words: tuple[str, ...]) -> None:
    result = lonely(*words, "--help")
    assert result.code == 0
    assert "Usage: tenantctl" in result.out
    is_group = "COMMAND" in result.out.partition("\n")[0]
    assert is_group or "Example: " in result.out
    assert max(map(cell_len, result.out.splitlines())) <= 160


def test_help_is_quick() -> None:
    """CPU, not time: the imports of `--help` must stay few, whatever else runs on the machine."""
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deploy.tenantctl", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stderr
    modules = {line.rpartition("|")[2].strip() for line in loaded.splitlines()}
    heavy = {
        "nats",
        "psycopg",
        "litestar",
        "granian",
        "faststream",
        "eventsourcing",
        "joserfc",
        "opentelemetry",
    }
    assert modules & heavy == set()


def test_a_reader_that_has_seen_enough_is_no_error(tenantctl: CommandLine) -> None:
    words = [sys.executable, "-m", "deploy.tenantctl", "replay", "--data-dir", str(tenantctl.data_dir)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_serve_says_what_it_cannot_run_with(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TENANTS_")}
    result = subprocess.run(
        [sys.executable, "-m", "deploy.tenantctl", "serve", "--role", "http"],
        env={**environment, "TENANTS_POOL_SIZE": "none"},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert result.returncode == 2
    assert "TENANTS_POOL_SIZE" in result.stderr


@pytest.mark.parametrize(
    "option", [("--nats-port", "99999"), ("--http-port", "-1"), ("--sync-interval", "12q")], ids=" ".join
)
def test_dev_refuses_what_no_server_could_take(tmp_path: Path, option: tuple[str, str]) -> None:
    words = [sys.executable, "-m", "deploy.tenantctl", "dev", "--data-dir", str(tmp_path / "new"), *option]
    result = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert option[0] in result.stderr
    assert list(tmp_path.iterdir()) == []
