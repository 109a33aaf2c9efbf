"""What the machine did meanwhile: CPU of our processes, and the share that others took."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import psutil


@dataclass
class Usage:
    """What was used between two moments: seconds of wall time and CPU; `foreign` is a share of all cores."""

    wall: float = 0.0
    cpu: float = 0.0
    foreign: float = 0.0


def own_cpu() -> float:
    """Return the CPU seconds that this process has used, without its descendants."""
    times = psutil.Process().cpu_times()
    return times.user + times.system


def cpu_of(pids: Iterable[int]) -> float:
    """Return the CPU seconds that these processes and their living descendants have used."""
    total, seen = 0.0, set[int]()
    for pid in pids:
        try:
            root = psutil.Process(pid)
            family = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        for process in family:
            if process.pid in seen:
                continue
            seen.add(process.pid)
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
    return total


def _busy() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


@contextmanager
def measured(pids: Iterable[int], *, client: bool = False) -> Generator[Usage]:
    """Measure a piece of work done by the processes `pids`; the usage is filled at its end.

    With `client` this process counts too, but not all that descends from it.
    """
    usage, known = Usage(), tuple(pids)

    def used() -> float:
        return cpu_of(known) + (own_cpu() if client else 0.0)

    wall, cpu, busy = time.perf_counter(), used(), _busy()
    yield usage
    usage.wall = time.perf_counter() - wall
    usage.cpu = used() - cpu
    cores = psutil.cpu_count() or 1
    usage.foreign = max(0.0, _busy() - busy - usage.cpu) / (usage.wall * cores)
