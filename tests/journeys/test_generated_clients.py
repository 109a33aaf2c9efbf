"""Clients that stock generators make of the OpenAPI document: type-checked, and used against the service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.documents.parser import NODE, NoRegistry, installed
from tests.journeys.conftest import Running
from tests.support.waiting import PATIENCE

HERE = Path(__file__).parent / "generated"
PROGRAMS = Path(sys.executable).parent


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a program that has to end well, and return what it printed."""
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def document(service: Running, folder: Path) -> Path:
    file = folder / "openapi.json"
    file.write_bytes(httpx.get(f"{service.at.http}/openapi.json", timeout=PATIENCE, trust_env=False).content)
    return file


def where(service: Running) -> dict[str, str]:
    return {"HTTP_URL": service.at.http, "TOKEN": service.at.admin_token, "NO_PROXY": "*"}


def test_a_generated_python_client_provisions_and_reads(service: Running, tmp_path: Path) -> None:
    client = ("--output-path", tmp_path / "tenant_api", "--meta", "none", "--fail-on-warning")
    source = document(service, tmp_path)
    run("openapi-python-client", "generate", "--path", source, *client, folder=tmp_path)
    shutil.copy(HERE / "use_client.py", tmp_path)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    run("pyright", "--pythonpath", sys.executable, "use_client.py", folder=tmp_path)
    label = f"py-{uuid4().hex[:8]}"
    assert run(sys.executable, "use_client.py", label, folder=tmp_path, **where(service)).strip()


def tools() -> Path:
    """Return the folder with what makes the client; only where npm has no registry it is not made."""
    try:
        return installed(HERE / "package.json", "openapi-typescript")
    except NoRegistry as error:
        if os.environ.get("DOCUMENTS") == "required":
            raise
        pytest.skip(f"npm cannot install the generator (`make documents` insists): {error}")


def test_a_generated_typescript_client_provisions_and_reads(service: Running, tmp_path: Path) -> None:
    modules = tools() / "node_modules"
    (tmp_path / "node_modules").symlink_to(modules)
    shutil.copy(HERE / "use_client.ts", tmp_path)
    shutil.copy(HERE / "package.json", tmp_path)
    source = document(service, tmp_path)
    generator = modules / "openapi-typescript" / "bin" / "cli.js"
    run(NODE, generator, source, "-o", tmp_path / "schema.d.ts", folder=tmp_path)
    strict = ("--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom,dom.iterable")
    run(NODE, modules / "typescript" / "bin" / "tsc", *strict, "use_client.ts", folder=tmp_path)
    label = f"ts-{uuid4().hex[:8]}"
    assert run(NODE, "use_client.js", label, folder=tmp_path, **where(service)).strip()
