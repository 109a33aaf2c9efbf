"""A supervisor in a process of its own, for tests that kill it.

    python -m tests.deploy.supervise FOLDER [OPTION…]

Prints the endpoints as one JSON line when both servers are up, then waits to be stopped or killed. Options:
`survivors` lets the servers outlive it, as on systems where nothing ends them; `uvloop` runs on uvloop.
"""

import asyncio
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import uvloop

from deploy.embedded import EmbeddedStack, process


async def supervise(folder: Path) -> None:
    main = asyncio.current_task()
    assert main is not None
    for sign in (signal.SIGTERM, signal.SIGINT):  # a background job of a shell ignores SIGINT otherwise
        asyncio.get_running_loop().add_signal_handler(sign, main.cancel)
    async with EmbeddedStack(folder) as stack:
        print(json.dumps(asdict(stack.endpoints)), flush=True)
        await asyncio.Event().wait()


def launch_survivor(*arguments: Any, **options: Any) -> Any:
    return _launch(*arguments, **{**options, "death_signal": signal.SIGCONT})


_launch = process.launch


def main(folder: Path, options: list[str]) -> None:
    if "survivors" in options:
        mock.patch.object(process, "launch", launch_survivor).start()
    if "uvloop" in options:
        uvloop.run(supervise(folder))
    else:
        asyncio.run(supervise(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
