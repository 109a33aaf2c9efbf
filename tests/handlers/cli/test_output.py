"""Tables for a person: whatever the terminal's width, an id stands in one piece, and nothing is left out."""

from typing import Any

import pytest

from handlers.cli import output, tenants
from handlers.cli.dead_letters import COLUMNS as LETTERS
from handlers.cli.history import COLUMNS as FACTS
from handlers.cli.operations import COLUMNS as OPERATIONS

ID = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"
OTHER = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c11"
RECORDS: dict[tuple[str, ...], dict[str, Any]] = {
    tenants.COLUMNS: {
        "tenant_id": ID,
        "subdomain": "a-rather-long-subdomain",
        "name": "Acme and all of its daughters",
        "status": "pending_deletion",
        "plan": "professional",
        "region": "ap-southeast",
        "version": 12,
    },
    OPERATIONS: {
        "operation_id": OTHER,
        "tenant_id": ID,
        "kind": "provisioning",
        "status": "rolled_back",
        "started_at": "2026-11-23T10:00:00.123456Z",
        "finished_at": "2026-11-23T10:00:01.123456Z",
    },
    LETTERS: {
        "number": 7,
        "time": "2026-11-23T10:00:00.123456+00:00",
        "tenant": ID,
        "stream": "TENANT_COMMANDS",
        "reason": "operation-in-progress",
        "status": "open",
        "message": "tenants.commands.update_profile",
        "error": {"detail": f"The operation {OTHER} holds the tenant; wait for its end, or cancel it."},
    },
    FACTS: {
        "position": 4711,
        "time": "2026-11-23T10:00:00.123456Z",
        "type": "tenant.provisioning_started",
        "version": 1,
        "actor": "tenantctl:ada",
        "data": {"operation_id": OTHER, "plan": "professional", "note": "word " * 30},
    },
}


@pytest.mark.parametrize("width", [40, 80, 100, 132, 200])
@pytest.mark.parametrize("columns", RECORDS, ids=["tenants", "operations", "letters", "facts"])
def test_ids_are_never_broken_and_nothing_is_lost(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: tuple[str, ...],
    width: int,
) -> None:
    monkeypatch.setattr(output, "WIDE", width)
    record = RECORDS[columns]
    output.table([record, record], columns)
    shown = capsys.readouterr().out
    told = str(record)
    for each in (ID, OTHER):
        assert shown.count(each) == 2 * told.count(each), shown
    text = "".join(shown.split())
    for column in columns:
        if len(value := output.cell(record, column)) <= output.NARROW:
            assert text.count("".join(value.split())) >= 2, shown
    if width == 200:
        lines = shown.splitlines()
        assert all(title.replace("_", " ").split(".")[-1] in lines[1] for title in columns), shown
        assert max(map(len, lines)) <= width, shown


def test_a_record_is_shown_with_its_ids_in_one_piece(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WIDE", 40)
    output.fields({"subject": f"tenants.commands.{ID}.update_profile", "body": "one\ntwo"})
    assert f"tenants.commands.{ID}.update_profile" in (shown := capsys.readouterr().out)
    assert shown.splitlines()[1:] == ["body     one", "         two"]


def test_what_would_steer_a_terminal_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    output.fields({"body": "\x1b[2Jgone \u202e"})
    output.table([{"body": "\x1b[2Jgone"}], ["body"])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert shown.count("\\x1b[2Jgone") == 2
