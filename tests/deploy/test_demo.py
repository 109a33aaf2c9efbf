"""The demo comes true on real servers, and says so when it does not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.board import Board, latest, picture, telling
from deploy.demo.samples import FOLDER, load
from handlers.cli.where import ENDPOINTS
from tenant_domain.registry import COMMANDS
from tests.support.processes import appears, processes_on
from tests.support.servers import public_folder

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = ("1-provision.jsonl", "2-fails.jsonl", "3-refused.jsonl", "4-history.jsonl", "5-operations.jsonl")
EXPECTED = ("completed", "rejected:tenant-gone")
"""What the first samples of a history are said to expect; the second of them will not come true."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo finds the place for temporary files."""
    made = public_folder()
    yield made
    shutil.rmtree(made)


def tenantctl(folder: Path, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.tenantctl", *map(str, words)],
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end, and return the exit code and what was written."""
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def until(process: subprocess.Popen[str], words: str) -> str:
    """Return what a process writes, up to the line with these words or its end."""
    assert process.stdout is not None
    shown = ""
    while line := process.stdout.readline():
        shown += line
        if words in line:
            break
    return shown


def test_the_demo_comes_true_and_keeps_its_stack_until_it_is_stopped(folder: Path, warm_dir: Path):
    demo = tenantctl(folder, "demo", "--keep", "--data-dir", warm_dir)
    shown = until(demo, "dead-letters list")
    assert "✗ " not in shown.split("What had to come true")[1], shown[-3000:]
    for words in (("dev",), ("demo",)):
        code, out, err = ended(tenantctl(folder, *words, "--data-dir", warm_dir))
        assert (code, "Ready" in out) == (3, False)
        assert str(warm_dir) in err
    demo.send_signal(signal.SIGINT)
    code, _, err = ended(demo)
    assert code == 0, err
    assert processes_on(warm_dir) == []


def test_the_demo_says_what_does_not_come_true_and_fails(folder: Path):
    samples = folder / "samples"
    shutil.copytree(FOLDER, samples)
    ghost = (samples / FILES[1]).read_text()
    (samples / FILES[1]).write_text(ghost.replace("unreachable.example", "reachable.example"))
    lines = (samples / FILES[3]).read_text().splitlines()
    changed = [{**json.loads(line), "expect": expect} for line, expect in zip(lines, EXPECTED, strict=False)]
    (samples / FILES[3]).write_text("\n".join([*map(json.dumps, changed), *lines[2:]]) + "\n")
    code, out, _ = ended(tenantctl(folder, "demo", "--samples", samples))
    said = " ".join(out.split())
    assert code == 1
    assert "expected failed, got completed" in said
    assert "expected rejected:tenant-gone, got completed" in said
    assert "left behind: its schema, its role, its bucket, its subdomain" in said
    assert list(folder.glob("tenants-demo-*")) == []


@pytest.mark.parametrize(("command", "code"), [("dev", 0), ("demo", 143)])
async def test_what_is_stopped_while_it_starts_leaves_nothing_running(
    folder: Path, data_dir: Path, command: str, code: int
):
    process = tenantctl(folder, command, "--data-dir", data_dir)
    await appears(data_dir / "embedded.json")
    process.terminate()
    assert ended(process)[0] == code
    assert processes_on(data_dir) == []


async def test_whoever_asks_twice_is_not_made_to_wait(folder: Path, warm_dir: Path):
    process = tenantctl(folder, "dev", "--data-dir", warm_dir)
    await appears(warm_dir / ENDPOINTS)
    process.send_signal(signal.SIGINT)
    process.terminate()
    code, _, said = ended(process)
    assert (code, "Ending at once." in said) == (0, True)
    assert processes_on(warm_dir) == []


def test_the_samples_hold_sixty_tenants_in_several_plans_and_regions():
    bodies = [sample.body for sample in load(FILES[0])]
    assert len(bodies) >= 60
    assert {body["plan"] for body in bodies} == {"free", "basic", "professional", "enterprise"}
    assert len({body.get("region") for body in bodies}) >= 5
    assert len({body["subdomain"] for body in bodies}) == len(bodies)


def test_what_the_samples_call_valid_fits_its_form():
    for name in (FILES[0], FILES[1], FILES[3], FILES[4]):
        for sample in load(name):
            COMMANDS[sample.command].form.model_validate_json(sample.payload)


def test_the_board_shows_steps_as_events_tell_them():
    board = Board()
    facts = {"name": "Acme", "plan": "free", "region": "eu-west"}
    board.take("t", "tenant.provisioning_started", facts, 1)
    board.take("t", "operation.step_completed", {"step": "validate"}, 2)
    board.take("t", "operation.step_failed", {"step": "notify", "retry_at": None}, 3)
    board.take("t", "operation.step_compensated", {"step": "create_schema"}, 4)
    board.take("t", "tenant.provisioning_failed", {"reason": "no mailbox"}, 5)
    line = board.lines["t"]
    assert line.steps == {"validate": "completed", "notify": "failed", "create_schema": "compensated"}
    assert (line.status, board.position, board.statuses()["failed"]) == ("failed", 5, 1)
    assert picture(board, "1 tenants/s", latest(board, 10))


def test_the_board_shows_who_moved_last_and_its_summary_who_has_more_to_tell():
    board = Board()
    for position, tenant in enumerate("abc"):
        board.take(tenant, "tenant.provisioning_started", {"name": tenant, "plan": "free"}, position)
        end = "tenant.provisioning_failed" if tenant == "a" else "tenant.activated"
        board.take(tenant, end, {}, position)
    assert [line.name for line in latest(board, 2)] == ["b", "c"]
    assert [line.name for line in telling(board, 2)] == ["a", "c"]
