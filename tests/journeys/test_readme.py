"""Every command and every program in the README does what it says, against a running service."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.journeys.conftest import CHECKOUT, Running

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")

SHELL = re.findall(r"```sh\n(.*?)```", README, re.S)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.S)

LONG = ("make demo", "make test", "tenantctl dev", "make faults", "make bench")
"""Blocks with these are run by tests of their own, or are what runs the tests."""


@pytest.mark.parametrize("block", [block for block in SHELL if not any(word in block for word in LONG)])
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


def test_the_readme_names_only_files_that_are_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (CHECKOUT / target).exists(), target
