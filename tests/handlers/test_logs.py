"""The log: readable by machines, and free of secrets and people."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import structlog

from handlers import logs
from handlers.logs import HIDDEN, redact, scrubbed, without_credentials

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://svc:s3cret@db:5432/x", "s3cret"),
        ("could not mail ada@example.com today", "ada@example.com"),
        ("Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln", "eyJzdWIi"),
    ],
)
def test_secrets_inside_texts_are_hidden(text: str, hidden: str):
    assert hidden not in scrubbed(text)
    assert HIDDEN in scrubbed(text)


@pytest.mark.parametrize(
    "key", ["password", "admin_token", "Authorization", "email", "name", "body", "api_key"]
)
def test_telling_keys_are_hidden(key: str):
    assert redact(None, "", {key: "whatever"})[key] == HIDDEN


def test_ids_stay_readable():
    line = {"tenant_id": "0192e4a0-5b1c-7d3e-8f00-0a1b2c3d4e5f", "position": 7}
    assert redact(None, "", dict(line)) == line


def test_production_lines_are_json(monkeypatch: pytest.MonkeyPatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    try:
        logs.configure("info", "json")
        structlog.get_logger().info("ready", url="nats://a:b@h:1")
        line = json.loads(out.getvalue())
    finally:
        structlog.reset_defaults()
    assert (line["event"], line["level"], line["url"]) == ("ready", "info", f"nats://a:{HIDDEN}@h:1")


def test_given_no_terminal_when_a_process_ends_by_any_error_then_each_line_is_json_and_says_who():
    program = """
import logging, sys, threading, warnings
from handlers import logs
logs.configure("info", role="relay")
logs.hear_python()
logging.getLogger("nats").error("a library's: %s", "nats://u:s3cret@h")
warnings.warn("of Python")
class Fragile:
    def __del__(self): raise ValueError("unraisable")
Fragile()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise RuntimeError("the last line")
"""
    environment = {name: value for name, value in os.environ.items() if name != "TENANTS_LOG_FORMAT"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == 5
    assert "s3cret" not in done.stderr
    for line, words in zip(
        lines,
        ("a library's", "of Python", "unraisable", "ZeroDivisionError", "the last line"),
        strict=True,
    ):
        assert words in line["event"] + line.get("exception", "")
        assert (line["role"], line["version"]) == ("relay", version("tenant-service"))
        assert isinstance(line["process"], int)


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_colours_unless_it_wants_none(no_color: str, coloured: bool):
    program = """
import os, pty, sys
pid, screen = pty.fork()
if pid == 0:
    import structlog
    from handlers import logs
    logs.configure("info")
    structlog.get_logger().info("seen", where="here")
    sys.exit()
said = b""
try:
    while block := os.read(screen, 65536):
        said += block
except OSError:  # how a terminal ends
    pass
os.waitpid(pid, 0)
sys.stdout.buffer.write(said)
"""
    environment = {name: value for name, value in os.environ.items() if name != "TENANTS_LOG_FORMAT"}
    said = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        cwd=ROOT,
        env={**environment, "TERM": "xterm", **({"NO_COLOR": no_color} if no_color else {})},
        check=True,
    ).stdout
    assert b"seen" in said
    assert (b"\x1b[" in said) == coloured
    assert not said.startswith(b"{")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://u:geheim@h:1", "nats://h:1"),
        ("nats://a:geheim@h1,nats://b:geheim@h2:4", "nats://h1,nats://h2:4"),
        ("postgresql://u:geheim,x@h1,h2:5/db?x=1", "postgresql://h1,h2:5/db?x=1"),
        ("host=h password = 'ge heim' user=u", f"host=h password={HIDDEN} user=u"),
        ("postgresql://h/d?password=geheim&a=b", f"postgresql://h/d?password={HIDDEN}&a=b"),
        ("h:4222", "h:4222"),
    ],
)
def test_where_a_server_is_can_be_said_without_credentials(url: str, shown: str):
    assert without_credentials(url) == shown
