"""Every command and every program in the README and docs/subscribing.md works, against a running service."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.journeys.conftest import CHECKOUT, Running

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")

SHELL = re.findall(r"```sh\n(.*?)```", README, re.S)
PYTHON = re.findall(
    r"```python\n(.*?)```", README + (CHECKOUT / "docs/subscribing.md").read_text(encoding="utf-8"), re.S
)
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *(str(page.relative_to(CHECKOUT)) for page in CHECKOUT.glob("docs/**/*.md")),
)

LONG = ("make demo", "make test", "tenantctl dev", "make faults", "make bench")
"""Blocks with these are run by tests of their own, or are what runs the tests."""


WHERE = next(block for block in SHELL if "endpoints.json" in block)


def test_the_other_terminal_is_told_where_all_is(service: Running, tmp_path: Path):
    (tmp_path / ".data").symlink_to(service.data_dir)
    (tmp_path / ".venv").symlink_to(CHECKOUT / ".venv")
    show = 'printf "%s\\n" "$NATS_URL" "$HTTP_URL" "$TOKEN"; command -v tenantctl'
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", WHERE + show],
        env={"PATH": os.defpath},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    at = service.at
    programs = f"{tmp_path}/.venv/bin/tenantctl"
    assert run.stdout.splitlines() == [at.nats, at.http, at.admin_token, programs], run.stderr


def test_where_nothing_runs_it_is_told_so(tmp_path: Path):
    (tmp_path / ".venv").symlink_to(CHECKOUT / ".venv")
    run = subprocess.run(
        ["bash", "-uo", "pipefail", "-c", WHERE],
        env={"PATH": os.defpath},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "start it first" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "block", [block for block in SHELL if block != WHERE and not any(word in block for word in LONG)]
)
def test_a_shell_snippet_works(service: Running, block: str):
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        env=service.environment(),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("block", PYTHON)
def test_a_python_snippet_works(service: Running, block: str):
    run = subprocess.run(
        ["python", "-W", "error", "-c", block],
        env=service.environment(),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_only_files_that_are_there(page: str):
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (CHECKOUT / page).parent.joinpath(target).exists(), target


def test_the_list_of_decisions_is_complete():
    index = (CHECKOUT / "docs/decisions/README.md").read_text(encoding="utf-8")
    for decision in CHECKOUT.glob("docs/decisions/0*.md"):
        assert f"]({decision.name})" in index, f"{decision.name} is missing from docs/decisions/README.md"
