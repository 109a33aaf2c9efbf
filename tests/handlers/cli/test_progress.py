"""Work that takes its time shows a person how far it is, and nobody else."""

import contextlib
import io
import os
import pty
import sys
from collections.abc import Iterator

import pytest

from handlers.cli.progress import bar


def read(screen: int) -> Iterator[str]:
    """Yield what was written to a terminal that is closed; its end is an error, on Linux."""
    with contextlib.suppress(OSError):
        while written := os.read(screen, 65536):
            yield written.decode(errors="replace")


def test_a_person_sees_how_far_the_work_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, terminal = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with open(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with bar("events", quiet=False) as advance:
            advance(30, 40)
    shown = "".join(read(screen))
    os.close(screen)
    assert "events" in shown
    assert "75%" in shown


@pytest.mark.parametrize("quiet", [True, False])
def test_a_file_gets_no_bar(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    with bar("events", quiet=quiet) as advance:
        advance(1, 2)
    assert written.getvalue() == ""
