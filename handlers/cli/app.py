"""The table of commands, and what their ends mean: 0 done, 1 refused, 2 misuse, 3 unavailable.

The modules of commands import what they need when they are called, so that `--help` is quick and can still
tell what each is for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from inspect import Parameter

from cyclopts import App, Argument, CycloptsError, MissingArgumentError

from handlers.adapters.tasks import keep_cancellations
from handlers.cli import (
    certificates,
    context,
    database_rights,
    dead_letters,
    doctor,
    events,
    history,
    operations,
    projections,
    replay,
    service,
    tenants,
)
from handlers.cli.exits import Misuse, explained

app = App(
    name="tenantctl",
    help="The tenant service: run it, ask it, look after it.\n\n"
    "Begin with `tenantctl dev`, which runs everything on this machine, and in another terminal "
    "`tenantctl tenants provision --help`. Where something is wrong, `tenantctl doctor` says what.\n\n"
    "Commands find the servers by TENANTS_NATS_URL and TENANTS_POSTGRES_URL, or else by the folder of a "
    "running `tenantctl dev` (--data-dir). Add --json to get JSON lines. "
    "Exit codes: 0 done, 1 refused, 2 misuse, 3 unavailable.",
    version=lambda: version("tenant-service"),
    help_format="plaintext",
)

for _apps, _group in (
    ((tenants.app, operations.app, certificates.app), "Tenants"),
    ((events.app, context.app, dead_letters.app, projections.app), "Data"),
):
    for _app in _apps:
        _app.group = _group
        app.command(_app)
for _functions, _group in (
    (
        (service.serve, service.settings, service.token, doctor.doctor, database_rights.database_rights),
        "Service",
    ),
    ((history.history, history.as_of), "Tenants"),
    ((replay.replay,), "Data"),
):
    for _function in _functions:
        app.command(_function, group=_group)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and end the process with its exit code."""
    keep_cancellations()
    _open_closed_outputs()
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except CycloptsError as error:
        code = explained(Misuse(_misuse(error)), as_json="--json" in (arguments or sys.argv[1:]))
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - the one place where errors become sentences
        code = explained(error, as_json="--json" in (arguments or sys.argv[1:]))
    sys.exit(code)


def _misuse(error: CycloptsError) -> str:
    """Return what is wrong with a command line; of options that are missing all at once."""
    words = " ".join(error.command_chain or ())
    given = {token.partition("=")[0] for token in error.root_input_tokens or ()}
    first = error.argument
    if isinstance(error, MissingArgumentError) and first and error.app and not given & set(first.names):
        needed = [each for each in error.app.assemble_argument_collection() if each.required]
        names = [each.names for each in needed]
        missing = [_named(each) for each in needed[names.index(first.names) :] if not given & set(each.names)]
        said = f"{words} needs {', '.join(missing)}"
    else:
        said = " ".join(str(error).split()).replace(", ...", " …").rstrip(".")
    return f"{said}. `{' '.join(('tenantctl', *(error.command_chain or ()), '--help'))}` tells more."


def _named(argument: Argument) -> str:
    """Return what an argument is called in the help: an option by its name, another one in capitals."""
    positional = argument.field_info.kind is not Parameter.KEYWORD_ONLY
    return argument.name.lstrip("-").upper() if positional else argument.name


def _open_closed_outputs() -> None:
    """Have an output that was closed before the start (`>&-`) go nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process
