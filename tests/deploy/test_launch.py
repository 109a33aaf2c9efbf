"""Turning into a server: what the program finds that a launched process becomes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from deploy.embedded import launch
from tests.support.waiting import PATIENCE

LOOK = """
import json, os, signal
names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")
ignored = [name for name in names if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN]
blocked = len(signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(json.dumps({"pid": os.getpid(), "umask": os.umask(0), "ignored": ignored, "blocked": blocked}))
"""
"""What a server could find that it inherited."""

WAIT = "print('here', flush=True); input()"


def launched(
    program: str = LOOK,
    *,
    lock: Path | None = None,
    parent: int | None = None,
    memory: int | None = None,
) -> subprocess.Popen[str]:
    """Launch a Python that runs `program`, as a shell's background job that ignores Ctrl-C would."""
    spec = {
        "parent": parent or os.getpid(),
        "account": None,
        "death_signal": int(signal.SIGKILL),
        "lock": str(lock) if lock else None,
        "memory": memory,
    }
    command = [sys.executable, launch.__file__, json.dumps(spec), sys.executable, "-c", program]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def test_the_server_keeps_the_id_and_gets_signals_and_umask_as_new():
    process = launched()
    code, out, err = ended(process)
    assert code == 0, err
    assert json.loads(out) == {"pid": process.pid, "umask": 0o077, "ignored": [], "blocked": 0}


def test_the_server_holds_its_lock_as_long_as_it_lives(tmp_path: Path):
    lock = tmp_path / "lock"
    first = launched(WAIT, lock=lock)
    assert first.stdout is not None
    assert first.stdout.readline() == "here\n"
    assert lock.read_text() == f"{first.pid}\n"
    code, _, _ = ended(launched(lock=lock))
    assert code == launch.LOCKED
    first.kill()
    ended(first)
    code, out, _ = ended(launched(lock=lock))
    assert code == 0
    assert lock.read_text() == f"{json.loads(out)['pid']}\n"


def test_a_server_whose_supervisor_died_meanwhile_does_not_start():
    code, out, err = ended(launched(parent=os.getppid()))
    assert (code, out) == (1, "")
    assert "the supervisor died" in err


def test_the_server_gets_no_more_memory_than_it_may_have():
    code, out, err = ended(launched("bytearray(2 << 30); print('has it')", memory=1 << 30))
    assert (code, out) == (1, "")
    assert "MemoryError" in err
