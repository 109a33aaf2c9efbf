"""What the documents show, run against a whole service."""

import json
import re
import subprocess
from pathlib import Path

from tests.handlers.cli.conftest import ROOT


def test_the_http_document_works(running_dir: Path) -> None:
    endpoints = json.loads((running_dir / "endpoints.json").read_text())
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "http.md").read_text(), re.DOTALL)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        env={"PATH": "/usr/bin:/bin", "HTTP_URL": endpoints["http"], "TOKEN": endpoints["admin_token"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "/problems/subdomain-taken" in run.stdout
