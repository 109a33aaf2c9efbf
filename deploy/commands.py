"""The commands that run things on this machine: `dev` and `demo`; how they run is imported when they do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from handlers.cli.where import DATA_DIR

_duration = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+").fullmatch


def _is_interval(_: object, text: str) -> None:
    if text != "always" and not _duration(text):
        raise ValueError("Must be `always`, or a time such as 500ms or 2m")


Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]
Interval = Annotated[str, Parameter(validator=_is_interval)]


def dev(
    *,
    data_dir: Path = DATA_DIR,
    nats_port: Port = 0,
    http_port: Port = 0,
    sync_interval: Interval = "always",
    stop_within: Annotated[float, Parameter(validator=Number(gt=0))] = 300.0,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> int:
    """Run everything on embedded servers, until Ctrl-C or SIGTERM.

    Real NATS and PostgreSQL start on loopback, with one command worker per core. A second start on the same
    folder goes on from it. When all is ready, and only then, it prints where things are. A second Ctrl-C ends
    it at once, without the writes that spare the next start a recovery.

    Example: tenantctl dev --data-dir .data --http-port 8085

    Parameters
    ----------
    data_dir
        Folder of all data, passwords and keys; one `dev` at a time may hold it.
    nats_port
        Port of NATS; 0 takes the former one, or a free one.
    http_port
        Port of the HTTP edge; 0 takes the former one, or a free one.
    sync_interval
        How often JetStream syncs to disk; anything but `always` can lose commands in a power cut.
    stop_within
        Seconds that PostgreSQL may take to stop: it syncs some thirty files of each tenant that changed.
    as_json
        Print one line of JSON with the addresses and credentials.
    """
    from deploy.dev import Options
    from deploy.running import run_dev

    options = Options(data_dir.absolute(), nats_port, http_port, sync_interval, stop_within=stop_within)
    return run_dev(options, as_json=as_json)


def demo(
    *,
    keep: bool = False,
    data_dir: Path | None = None,
    samples: Path | None = None,
    svg: Path | None = None,
) -> int:
    """Run the main job on the sample data, against a stack of its own, and check all that comes of it.

    Exits with 0 only if all of it came true.

    Example: tenantctl demo --keep

    Parameters
    ----------
    keep
        Leave the stack running until Ctrl-C, and print where it is.
    data_dir
        Folder of the stack; a new one, removed at the end, when none is given.
    samples
        Folder of other samples in the same form.
    svg
        Draw what all came to into this file.
    """
    from deploy.running import run_demo

    return run_demo(keep=keep, data_dir=data_dir and data_dir.absolute(), samples=samples, svg=svg)
