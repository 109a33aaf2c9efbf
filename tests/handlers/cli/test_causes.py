"""What the doctor advises fits the cause: each of these had advice that could not help."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from handlers.cli.unreachable import advice_for
from tests.handlers.cli.conftest import CommandLine
from tests.support.narrow_bus import narrow_bus

NOWHERE = {
    "TENANTS_NATS_URL": "nats://127.0.0.1:1",
    "TENANTS_POSTGRES_URL": "postgresql://127.0.0.1:1/tenants",
    "TENANTS_HTTP_PORT": "1",
}


def examined(command_line: CommandLine, **env: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the doctor's exit code and findings, where nothing is but what `env` says."""
    result = command_line.json("doctor", env={**NOWHERE, **env})
    return result.code, {finding["what"]: finding for finding in result.lines}


def with_password(url: str, password: str) -> str:
    """Return the URL with another password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition(':')[0]}:{password}@{rest.rpartition('@')[2]}"


@pytest.fixture
def hasty(tmp_path: Path) -> Generator[CommandLine]:
    """A command line that soon gives up: a pool waits as long as it may for a database that refuses it."""
    with CommandLine(tmp_path, reach=10) as command_line:
        yield command_line


def test_given_a_wrong_password_then_it_names_the_setting_and_no_server_to_start(
    hasty: CommandLine, nats_url: str, postgres_url: str
) -> None:
    env = {
        "TENANTS_NATS_URL": with_password(nats_url, "swordfish"),
        "TENANTS_POSTGRES_URL": with_password(postgres_url, "swordfish"),
    }
    code, findings = examined(hasty, **env)
    assert code == 3
    assert findings["nats"]["advice"] == "Correct user and password in TENANTS_NATS_URL."
    assert findings["postgres"]["advice"] == "Correct user and password in TENANTS_POSTGRES_URL."
    assert "swordfish" not in str(findings)
    for words in (("tenants", "list"), ("projections", "status"), ("events", "rebuild")):
        refused = hasty(*words, env=env)
        assert (refused.code, "Correct user and password" in refused.err) == (3, True), words


async def test_given_no_such_database_then_it_says_to_make_it(postgres_url: str) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        await psycopg.AsyncConnection.connect(f"{postgres_url.rpartition('/')[0]}/none_such")
    assert "Make the database" in advice_for(str(refused.value), "TENANTS_POSTGRES_URL", "Start it.")


def test_given_servers_of_two_sources_then_each_is_named_with_its_own(
    unserved: CommandLine, nats_url: str, postgres_url: str, tmp_path: Path
) -> None:
    (tmp_path / "endpoints.json").write_text(json.dumps({"postgres": postgres_url}))
    result = unserved("doctor", "--json", data_dir=tmp_path, env={"TENANTS_NATS_URL": nats_url})
    found = {finding["what"]: finding["found"] for finding in result.lines}
    assert "TENANTS_NATS_URL" in found["nats"]
    assert str(tmp_path / "endpoints.json") in found["postgres"]


@contextmanager
def answering(status: int, body: bytes) -> Generator[int]:
    """Give the port of an HTTP server that answers everything alike."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


READY = json.dumps({"status": "ok", "parts": {"nats": "ok"}}).encode()
NOT_READY = json.dumps({"status": "unavailable", "reasons": {"postgres": "no room on the disk"}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "state", "found", "advice"),
    [
        (200, READY, "ok", '"status": "ok"', ""),
        (503, NOT_READY, "broken", "is not ready: postgres: no room on the disk", "It runs"),
        (503, b"no backend", "look", "503 no backend", "Another server answers there"),
        (404, b"Not Found", "look", "404 Not Found", "Another server answers there"),
        (200, b"<html>", "look", "200 <html>", "Another server answers there"),
    ],
)
def test_what_http_says_is_told_with_what_helps(
    lonely: CommandLine, status: int, body: bytes, state: str, found: str, advice: str
) -> None:
    with answering(status, body) as port:
        _, findings = examined(lonely, TENANTS_HTTP_PORT=str(port))
    http = findings["http"]
    assert http["state"] == state
    assert found in http["found"]
    assert advice in (http["advice"] or "")


ALL = ("tenants.>", "$JS.>", "$KV.>", "$SRV.>", "_INBOX.>")


@pytest.mark.parametrize(
    ("permissions", "said"),
    [
        ({"publish": [right for right in ALL if right != "$JS.>"]}, "to publish to $js.api.info"),
        ({"publish": ["$JS.API.INFO"]}, "to publish to $js.api.stream.info.tenant_commands"),
        ({"subscribe": ["tenants.>"]}, "to subscribe to _inbox."),
    ],
    ids=["no JetStream", "no streams", "no answers"],
)
async def test_given_a_nats_user_without_a_right_then_it_names_the_right(
    unserved: CommandLine,
    postgres_url: str,
    tmp_path: Path,
    permissions: Mapping[str, object],
    said: str,
) -> None:
    async with narrow_bus(tmp_path, permissions) as url:
        _, findings = examined(unserved, TENANTS_NATS_URL=url, TENANTS_POSTGRES_URL=postgres_url)
    broken = [each for each in findings.values() if said in each["found"]]
    assert broken
    assert {each["state"] for each in broken} == {"broken"}
    assert all("`$JS.>`" in each["advice"] for each in broken)
    assert not any("defect" in (each["advice"] or "") for each in findings.values())
