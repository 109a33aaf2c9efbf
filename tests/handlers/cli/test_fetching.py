"""An export is fetched into its folder, whatever its manifest says."""

import hashlib
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from handlers.cli.exits import Misuse
from handlers.cli.fetching import fetch
from tenant_domain.refusals import NotFound


@contextmanager
def edge(files: Mapping[str, bytes]) -> Generator[str]:
    """Serve these files of an export, and give the URL of who serves them."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path.partition("/export/")[2])
            self.send_response(404 if content is None else 200)
            content = b'{"status": 404, "detail": "There is no export."}' if content is None else content
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def manifest(path: str, content: bytes) -> bytes:
    part = {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return json.dumps({"parts": [part]}).encode()


async def test_a_part_that_is_not_as_the_manifest_says_is_named(tmp_path: Path) -> None:
    for content in (b"other", b"longer than it should be"):
        with edge({"manifest.json": manifest("a/b", b"right"), "a/b": content}) as url:
            fetched = await fetch(url, "token", uuid4(), tmp_path)
        assert (fetched.wrong, fetched.fetched) == (["a/b"], 1)


async def test_an_export_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    with edge({}) as url, pytest.raises(NotFound, match="no export"):
        await fetch(url, "token", uuid4(), tmp_path / "export")
    assert os.listdir(tmp_path) == []


async def test_a_manifest_leads_out_of_no_folder(tmp_path: Path) -> None:
    for path in ("../outside", "/etc/outside", "a/../../outside"):
        with (
            edge({"manifest.json": manifest(path, b"x"), path: b"x"}) as url,
            pytest.raises(Misuse, match="outside of the folder"),
        ):
            await fetch(url, "token", uuid4(), tmp_path / "export")
    assert os.listdir(tmp_path) == ["export"]
