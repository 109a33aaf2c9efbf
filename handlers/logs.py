"""Logging: structlog, readable on a terminal and JSON elsewhere, without secrets or personal fields."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import MutableMapping
from importlib.metadata import version
from types import TracebackType
from typing import Any, Literal, TypeAlias

import structlog
from opentelemetry import trace

_SECRET_KEYS = re.compile(r"password|secret|token|authorization|credential|private|api_key", re.IGNORECASE)
_PERSONAL_KEYS = frozenset(("email", "name", "admin", "member_name", "body", "data", "payload"))
_URL_PASSWORD = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^:/@\s]*):[^@/\s]+@", re.IGNORECASE)
_LIBPQ_PASSWORD = re.compile(r"(?:ssl)?password\s*=\s*('(?:\\.|[^'])*'|[^\s&]+)", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=//)[^/?#]*@|(?:^|(?<=,))[^/,=?#]*@")
_EMAIL = re.compile(r"[^\s@<>\"'(),:;\[\]]+@[\w.-]+\.[A-Za-z]{2,}")
_BEARER = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*")

HIDDEN = "[hidden]"

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Form: TypeAlias = Literal["json", "console"]


def configure(level: Level, form: Form | None = None, *, role: str = "") -> None:
    """Send this process's log to standard error, its own lines and its libraries' alike.

    Without a `form` the variable TENANTS_LOG_FORMAT says it, or else whether standard error is a terminal.
    As JSON, each line has the `role`, the process and the version.
    """
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    known = {"role": role, "process": os.getpid(), "version": version("tenant-service")}

    def identity(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**line, **known} if in_json else line

    in_json = (form or form_here()) == "json"
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        identity,
        _trace_ids,
        structlog.processors.format_exc_info,
        redact,
    ]
    console = structlog.dev.ConsoleRenderer(colors=colours)
    renderer = structlog.processors.JSONRenderer() if in_json else console
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


def form_here() -> Form:
    """Return the form that TENANTS_LOG_FORMAT names, or else the one for what standard error is."""
    match os.environ.get("TENANTS_LOG_FORMAT"):
        case "json":
            return "json"
        case "console":
            return "console"
        case _:
            return "console" if sys.stderr.isatty() else "json"


def hear_python() -> None:
    """Log what Python itself would print, to the last line: warnings, and errors that nobody caught."""
    log = structlog.get_logger()

    def ended(kind: type[BaseException], error: BaseException, trace_: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            log.critical("ended by an error", exc_info=(kind, error, trace_))

    def thread_ended(about: threading.ExceptHookArgs) -> None:
        error = about.exc_value or about.exc_type()
        name = about.thread.name if about.thread else None
        log.error(
            "a thread ended by an error", thread=name, exc_info=(about.exc_type, error, about.exc_traceback)
        )

    def unraisable(about: sys.UnraisableHookArgs) -> None:
        error = about.exc_value or about.exc_type()
        log.error(
            about.err_msg or "an error that nobody could catch",
            where=repr(about.object),
            exc_info=(about.exc_type, error, about.exc_traceback),
        )

    sys.excepthook, threading.excepthook, sys.unraisablehook = ended, thread_ended, unraisable
    logging.captureWarnings(True)


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


def without_credentials(url: str) -> str:
    """Return where servers are, of a URL, a list of URLs or a libpq string, without users and passwords."""
    url = _LIBPQ_PASSWORD.sub("password=" + HIDDEN, url)
    return _USER_INFO.sub("", url)


def _trace_ids(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        line["trace_id"], line["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
    return line
