"""Turn into a server: run as a script that sets the process up and then executes the server in its place.

    python -I -S launch.py '{"parent": 1, "account": ["nobody", 65534, 65534], …}' server argument…

A script and not a function run between fork and exec, because that one must not take locks that another
thread of the supervisor held when it forked. The process keeps its id all the way. It stays small: every
import costs each start of a server.
"""

import ctypes
import fcntl
import json
import os
import resource
import signal
import sys
import time
from typing import Any

LOCKED = 75  # the exit status when another process still holds the server's lock
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Set this process up as the first argument (JSON) says, then execute the rest."""
    spec: dict[str, Any] = json.loads(arguments[0])
    command = arguments[1:]
    if spec["account"]:
        _change_account(*spec["account"])
    _die_with_parent(spec["parent"], spec["death_signal"])
    os.umask(0o077)
    if spec["memory"] and sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (spec["memory"], spec["memory"]))
    _restore_signals()
    if spec["lock"] and not _hold_lock(spec["lock"]):
        sys.exit(LOCKED)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def _change_account(name: str, uid: int, gid: int) -> None:
    os.initgroups(name, gid)
    os.setgid(gid)
    os.setuid(uid)


def _die_with_parent(parent: int, death_signal: int) -> None:
    """Have the kernel signal this process when its parent's thread ends; changing accounts would undo it."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit("the supervisor died before its server started")


def _restore_signals() -> None:
    """Undo what Python and a shell's background jobs ignore: an ignored signal stays ignored across exec."""
    for number in (
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _hold_lock(path: str) -> bool:
    """Take the server's lock and leave it open for the server, which so holds it as long as it lives."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
            continue
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        os.set_inheritable(lock, True)
        return True
    return False


if __name__ == "__main__":
    main(sys.argv[1:])
