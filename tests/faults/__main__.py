"""`make faults`: rounds of chaos until the time is over; the seed of a broken round is printed."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from handlers import logs
from tests.faults.round import Report, run


def main() -> int:
    """Run rounds; exit 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long to go on (default 600)")
    parser.add_argument("--round", type=float, default=60, help="seconds of chaos in one round (default 60)")
    parser.add_argument("--seed", type=int, default=None, help="run one round with this seed")
    options = parser.parse_args()
    logs.configure("error", "console")
    end = time.monotonic() + options.seconds
    first = options.seed if options.seed is not None else int(time.time())
    kept = promises = harms = 0
    for seed in range(first, first + (1 if options.seed is not None else 1_000_000)):
        if time.monotonic() >= end:
            break
        report = _round(min(options.round, options.seconds), seed)
        if report.broken:
            return 1
        kept, promises, harms = kept + 1, promises + report.promises, harms + report.harms.total()
    print(f"{kept} rounds, {harms} harms, {promises} promises: all kept")
    return 0


def _round(seconds: float, seed: int) -> Report:
    folder = Path(tempfile.mkdtemp(prefix="tenant-faults-"))
    folder.chmod(0o755)
    report = asyncio.run(run(folder / "data", seconds=seconds, seed=seed))
    print(
        f"seed {seed}: {report.promises} promises to {report.tenants} tenants, {report.repeats} repeats, "
        f"{report.harms.total()} harms {dict(report.harms)}"
    )
    for sentence in report.broken:
        print("  BROKEN:", sentence)
    if report.broken:
        print("  kept for a look:", folder)
    else:
        shutil.rmtree(folder)
    return report


if __name__ == "__main__":
    sys.exit(main())
