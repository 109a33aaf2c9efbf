"""The signals that ask a process to stop cleanly."""

from __future__ import annotations

import signal


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals to stop at: SIGTERM and SIGINT always, SIGHUP unless it was ignored at the start.

    A shell starts background jobs with SIGINT ignored; whoever sends it to such a process by hand means it
    all the same. `nohup` ignores SIGHUP so that the process outlives its terminal: then it does.
    """
    asked = (signal.SIGTERM, signal.SIGINT)
    return asked if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (*asked, signal.SIGHUP)
