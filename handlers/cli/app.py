"""The table of commands, and what their ends mean: 0 done, 1 refused, 2 misuse, 3 unavailable.

The modules of commands import what they need when they are called, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError

from handlers.cli.exits import MISUSE, explained

HERE = "handlers.cli"

app = App(
    name="tenantctl",
    help="The tenant service: run it, ask it, look after it.\n\n"
    "Commands find the servers by TENANTS_NATS_URL and TENANTS_POSTGRES_URL, or else by the folder of a "
    "running `tenantctl dev` (--data-dir). Add --json to get JSON lines. "
    "Exit codes: 0 done, 1 refused, 2 misuse, 3 unavailable.",
    version=lambda: version("tenant-service"),
    help_format="plaintext",
)

_COMMANDS = (
    ("Service", "serve", "service:serve"),
    ("Service", "settings", "service:settings"),
    ("Service", "token", "service:token"),
    ("Service", "doctor", "doctor:doctor"),
    ("Tenants", "tenants", "tenants:app"),
    ("Tenants", "operations", "operations:app"),
    ("Tenants", "certificate", "certificates:app"),
    ("Tenants", "history", "history:history"),
    ("Tenants", "as-of", "history:as_of"),
    ("Data", "events", "events:app"),
    ("Data", "context", "context:app"),
    ("Data", "replay", "replay:replay"),
    ("Data", "dead-letters", "dead_letters:app"),
    ("Data", "projections", "projections:app"),
)

for _group, _name, _target in _COMMANDS:
    app.command(f"{HERE}.{_target}", name=_name, group=_group)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and end the process with its exit code."""
    try:
        result = app(arguments, exit_on_error=False, result_action="return_value")
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except CycloptsError:
        code = MISUSE  # cyclopts has said what is wrong
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - the one place where errors become sentences
        code = explained(error, as_json="--json" in (arguments or sys.argv[1:]))
    sys.exit(code)
