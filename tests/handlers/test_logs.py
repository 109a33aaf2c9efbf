"""The log: readable by machines, and free of secrets and people."""

from __future__ import annotations

import io
import json
import sys

import pytest
import structlog

from handlers import logs
from handlers.logs import HIDDEN, redact, scrubbed


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
