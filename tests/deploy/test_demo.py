"""The demo comes true on real servers, and says so when it does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.board import Board, picture
from deploy.demo.samples import FOLDER, load
from tenant_domain.registry import COMMANDS
from tests.support.servers import public_folder

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = ("1-provision.jsonl", "2-fails.jsonl", "3-refused.jsonl", "4-history.jsonl", "5-operations.jsonl")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo finds the place for temporary files."""
    made = public_folder()
    yield made
    shutil.rmtree(made)


def demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.tenantctl", "demo", *options],
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_the_demo_comes_true(folder: Path):
    run = demo(folder)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
    assert "✗ " not in run.stdout.split("What had to come true")[1]


def test_the_demo_fails_when_something_does_not_come_true(folder: Path):
    samples = folder / "samples"
    shutil.copytree(FOLDER, samples)
    lines = (samples / FILES[3]).read_text().splitlines()
    changed = {**json.loads(lines[0]), "expect": "rejected:tenant-gone"}
    (samples / FILES[3]).write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n")
    run = demo(folder, "--samples", str(samples))
    assert run.returncode == 1
    assert "expected rejected:tenant-gone, got completed" in " ".join(run.stdout.split())


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
    assert picture(board, "1 tenants/s", 10)
