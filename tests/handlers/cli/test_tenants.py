"""Tenants and their operations by the command line, on a whole running service."""

from typing import Any
from uuid import uuid4

import pytest

from tests.handlers.cli.conftest import CommandLine

TENANT_FIELDS = {
    "tenant_id",
    "name",
    "subdomain",
    "status",
    "plan",
    "region",
    "metadata",
    "settings",
    "quotas",
    "created_at",
    "updated_at",
    "version",
    "operation_id",
}
ADMIN = ("--admin-email", "ada@acme.example", "--admin-name", "Ada Lovelace")


@pytest.fixture
def subdomain() -> str:
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def made(tenantctl: CommandLine, subdomain: str) -> dict[str, Any]:
    """A tenant that is active."""
    result = tenantctl.json(
        "tenants", "provision", "--name", "Acme [bold]", "--subdomain", subdomain, *ADMIN, "--wait"
    )
    assert result.code == 0, result.err
    outcome, operation = result.lines
    assert operation["status"] == "succeeded"
    assert operation["operation_id"] == outcome["operation_id"]
    return outcome


def test_a_tenant_is_provisioned_and_shown_by_id_and_by_subdomain(
    tenantctl: CommandLine, made: dict[str, Any], subdomain: str
) -> None:
    assert set(made) == {
        "command_id",
        "tenant_id",
        "status",
        "version",
        "position",
        "operation_id",
        "result",
    }
    by_id = tenantctl.json("tenants", "show", made["tenant_id"])
    by_name = tenantctl.json("tenants", "show", subdomain)
    assert (by_id.code, by_name.code) == (0, 0)
    assert by_id.record["tenant_id"] == by_name.record["tenant_id"] == made["tenant_id"]
    assert set(by_id.record) == TENANT_FIELDS | {"position"}
    assert by_id.record["status"] == "active"


def test_a_person_sees_the_steps(tenantctl: CommandLine, made: dict[str, Any], subdomain: str) -> None:
    shown = tenantctl("operations", "show", subdomain, made["operation_id"], "--wait")
    assert shown.code == 0
    assert "create_schema" in shown.out
    listed = tenantctl.json("operations", "list", subdomain)
    assert [run["operation_id"] for run in listed.lines] == [made["operation_id"]]


def test_tenants_are_listed_as_a_table_and_as_lines(
    tenantctl: CommandLine, made: dict[str, Any], subdomain: str
) -> None:
    table = tenantctl("tenants", "list", "--search", subdomain)
    assert "subdomain" in table.out
    assert "Acme [bold]" in table.out
    record = tenantctl.json("tenants", "list", "--search", subdomain).record
    assert record["tenant_id"] == made["tenant_id"]
    assert set(record) == TENANT_FIELDS


def test_a_list_says_when_there_is_more(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    first = tenantctl.json("history", made["tenant_id"], "--limit", 2)
    assert len(first.lines) == 2
    assert "--limit" in first.err
    every = tenantctl.json("history", made["tenant_id"], "--limit", 0)
    assert len(every.lines) > 2
    assert every.err == ""


def test_a_list_of_nothing_is_empty(tenantctl: CommandLine) -> None:
    assert tenantctl.json("tenants", "list", "--search", "nobody at all").lines == []
    table = tenantctl("tenants", "list", "--search", "nobody at all")
    assert (table.code, table.out, table.err) == (0, "", "No tenant fits.\n")


def test_a_profile_is_updated(tenantctl: CommandLine, made: dict[str, Any], subdomain: str) -> None:
    changes = ("--name=Neu", "--metadata=crm=42=a", "--settings=beta=true", "--settings=mode=dark")
    outcome = tenantctl.json("tenants", "update", subdomain, *changes)
    assert outcome.code == 0
    position = outcome.record["position"]
    assert position > made["position"]
    shown = tenantctl.json("history", subdomain, "--type", "tenant.profile_updated", "--from", position)
    assert shown.record["data"] == {
        "name": "Neu",
        "metadata": {"crm": "42=a"},
        "settings": {"beta": True, "mode": "dark"},
        "settings_after": {"beta": True, "mode": "dark"},
    }
    assert shown.record["actor"].startswith("tenantctl:")


def test_a_command_is_safe_to_repeat(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    words = ("tenants", "update", made["tenant_id"], "--name", "B", "--command-id", uuid4())
    first = tenantctl.json(*words)
    assert tenantctl.json(*words).out == first.out
    other = tenantctl.json(*words[:4], "C", *words[5:])
    assert other.code == 1
    assert '"/problems/command-id-reused"' in other.err


def test_another_version_is_refused(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    refused = tenantctl("tenants", "update", made["tenant_id"], "--name", "B", "--expected-version", 99)
    assert refused.code == 1
    assert refused.err.startswith("version-conflict: ")
    assert refused.out == ""


def test_a_tenant_is_suspended_and_resumed(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    tenant = made["tenant_id"]
    assert tenantctl("tenants", "suspend", tenant, "--reason", "unpaid", "--wait").code == 0
    assert tenantctl.json("tenants", "show", tenant).record["status"] == "suspended"
    resumed = tenantctl("tenants", "resume", tenant)
    assert resumed.code == 0
    assert f"tenantctl operations show {tenant}" in resumed.out


def test_a_tenant_moves_to_another_plan(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    tenant = made["tenant_id"]
    moved = tenantctl("tenants", "upgrade", tenant, "--plan", "enterprise", "--wait")
    assert moved.code == 0, moved.err
    assert tenantctl.json("tenants", "show", tenant).record["plan"] == "enterprise"
    refused = tenantctl("tenants", "upgrade", tenant, "--plan", "gold", "--effective", "period_end")
    assert (refused.code, refused.err.partition(":")[0]) == (1, "invalid-command")


def test_a_taken_subdomain_is_refused_with_its_problem(
    tenantctl: CommandLine, made: dict[str, Any], subdomain: str
) -> None:
    words = ("tenants", "provision", "--name", "B", "--subdomain", subdomain, *ADMIN)
    refused = tenantctl.json(*words)
    assert (refused.code, refused.out) == (1, "")
    assert '"type": "/problems/subdomain-taken"' in refused.err
    assert tenantctl(*words).err.startswith("subdomain-taken: ")


def test_what_an_operation_cannot_do_any_more_is_refused(
    tenantctl: CommandLine, made: dict[str, Any], subdomain: str
) -> None:
    for command in ("retry", "cancel", "compensate"):
        refused = tenantctl("operations", command, subdomain, made["operation_id"])
        assert (refused.code, refused.err.partition(":")[0]) == (1, "invalid-transition")


def test_a_tenant_is_shown_as_it_was(tenantctl: CommandLine, made: dict[str, Any], subdomain: str) -> None:
    born = tenantctl.json("as-of", subdomain, "--version", 1).record
    assert born["status"] == "provisioning"
    later = tenantctl.json("as-of", subdomain, "--at", "2100-01-01T00:00")
    assert later.record["status"] == "active"
    at_birth = tenantctl.json("as-of", subdomain, "--at", born["created_at"]).record
    assert at_birth["version"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ("tenants", "show", "nobody-has-this"),
        ("tenants", "show", "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"),
        ("tenants", "list", "--status", "flying"),
        ("tenants", "suspend", "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10", "--reason", "x"),
        ("history", "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"),
        ("dead-letters", "show", "987654321"),
    ],
)
def test_a_refusal_is_exit_code_1(tenantctl: CommandLine, words: tuple[str, ...]) -> None:
    result = tenantctl(*words)
    assert result.code == 1
    assert result.out == ""
    assert ": " in result.err


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("tenants", "nonsense"),
        ("tenants", "list", "--nonsense"),
        ("tenants", "list", "--limit", "x"),
        ("tenants", "list", "--limit", "-1"),
        ("tenants", "show"),
        ("tenants", "provision", "--name", "x"),
        ("tenants", "update", "acme", "--metadata", "no-equals-sign"),
        ("tenants", "update", "acme", "--name", "x", "--command-id", "7"),
        ("operations", "show", "acme", "no-id"),
        ("as-of", "acme"),
        ("as-of", "acme", "--at", "yesterday"),
        ("as-of", "acme", "--at", "2026-01-01", "--version", "1"),
        ("token", "--user", "ada", "--role", "admin"),
        ("token", "--user", "ada", "--role", "admin", "--tenant", "acme"),
        ("projections", "rebuild", "nonsense"),
        ("replay", "--tenant", "acme"),
        ("dead-letters", "replay"),
        ("dead-letters", "replay", "7", "--reason", "x"),
        ("serve", "--role", "nonsense"),
        ("events", "rebuild", "--from", "999999"),
        ("tenants", "export", "acme", "--to", "x", "--http", "localhost:8085"),
    ],
)
def test_misuse_is_exit_code_2(tenantctl: CommandLine, words: tuple[str, ...]) -> None:
    result = tenantctl(*words)
    assert result.code == 2
    assert result.out == ""
    assert result.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("tenants", "provision", "--name", "X"), "needs --subdomain, --admin-email, --admin-name."),
        (("tenants", "provision", "--name=X", "--admin-name", "Ada"), "needs --subdomain, --admin-email."),
        (("tenants", "suspend", "acme"), "tenants suspend needs --reason."),
        (("operations", "show", "acme"), "operations show needs OPERATION-ID."),
        (("tenants", "lst"), 'Did you mean "list"?'),
    ],
    ids=str,
)
def test_what_is_missing_is_told_as_missing(
    tenantctl: CommandLine, words: tuple[str, ...], told: str
) -> None:
    result = tenantctl(*words)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert "--help` tells more" in result.err
    assert "/problems/misuse" in tenantctl.json(*words).err


def test_many_operations_are_run_again_at_once_and_only_once(
    tenantctl: CommandLine, made: dict[str, Any]
) -> None:
    """The notice of every tenant that is active; a second try finds the new runs, which have ended too."""
    filters = ("--kind", "provisioning", "--status", "succeeded", "--tenant", made["tenant_id"])
    result = tenantctl.json("operations", "bulk", "rerun", *filters, "--from-step", "notify")
    assert result.code == 0, result.err
    assert [(each["operation_id"], each["status"]) for each in result.lines] == [
        (made["operation_id"], "completed")
    ]
    again = result.lines[0]["new_operation_id"]
    shown = tenantctl.json("operations", "show", made["tenant_id"], again, "--wait")
    assert (shown.code, shown.record["status"], shown.record["rerun_of"]) == (
        0,
        "succeeded",
        made["operation_id"],
    )
    steps = {step["name"]: step["attempts"] for step in shown.record["steps"]}
    assert (steps["create_schema"], steps["notify"]) == (0, 1)


def test_a_bulk_tells_what_was_refused(tenantctl: CommandLine, made: dict[str, Any]) -> None:
    result = tenantctl.json("operations", "bulk", "cancel", "--tenant", made["tenant_id"])
    assert result.code == 1
    assert [(each["status"], each["problem"]) for each in result.lines] == [
        ("rejected", "invalid-transition")
    ]


def test_a_bulk_without_a_filter_is_refused(tenantctl: CommandLine) -> None:
    result = tenantctl("operations", "bulk", "retry")
    assert result.code == 1
    assert "at least one of kind, status, tenant_id must be given" in result.err
