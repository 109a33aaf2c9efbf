"""Work that takes its time shows a person how far it is, and nobody else."""

import io
import os
import pty
import sys

import pytest

from handlers.cli.progress import bar


def test_a_person_sees_how_far_the_work_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, terminal = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with open(terminal, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        with bar("events", quiet=False) as advance:
            advance(30, 40)
        stderr.flush()
        shown = os.read(screen, 65536).decode()
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
