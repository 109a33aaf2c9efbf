"""Logging: structlog, JSON in production and readable in development, without secrets or personal fields."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog
from opentelemetry import trace

_SECRET_KEYS = re.compile(r"password|secret|token|authorization|credential|private|api_key", re.IGNORECASE)
_PERSONAL_KEYS = frozenset(("email", "name", "admin", "member_name", "body", "data", "payload"))
_URL_PASSWORD = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^:/@\s]*):[^@/\s]+@", re.IGNORECASE)
_EMAIL = re.compile(r"[^\s@<>\"'(),:;\[\]]+@[\w.-]+\.[A-Za-z]{2,}")
_BEARER = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*")

HIDDEN = "[hidden]"


def configure(level: Literal["debug", "info", "warning", "error"], form: Literal["json", "console"]) -> None:
    """Send this process's log to standard error, its own lines and its libraries' alike."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _trace_ids,
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer = structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer()
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    foreign: list[structlog.types.Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        renderer,
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=foreign, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def redact(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide what must not be read: values under telling keys, passwords in URLs, tokens, addresses."""
    for key, value in line.items():
        if key in _PERSONAL_KEYS or _SECRET_KEYS.search(key):
            line[key] = HIDDEN
        elif isinstance(value, str):
            line[key] = scrubbed(value)
    return line


def scrubbed(text: str) -> str:
    """Return `text` without passwords in URLs, tokens and e-mail addresses."""
    text = _URL_PASSWORD.sub(rf"\g<scheme>:{HIDDEN}@", text)
    return _EMAIL.sub(HIDDEN, _BEARER.sub(HIDDEN, text))


def _trace_ids(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        line["trace_id"], line["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
    return line
