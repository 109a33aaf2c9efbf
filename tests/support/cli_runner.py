"""Runs command lines one after the other in one process, so that a test does not pay for imports.

Reads one JSON object with arguments from each line of standard input, writes one JSON object to standard
output. Two arguments of its own say for how many seconds servers and answers are waited for, and what a part
of the service has for being well.
"""

import contextlib
import io
import json
import os
import sys
from typing import Any

from handlers.cli import run, where
from handlers.cli.findings import doors


def main() -> None:
    """Serve until standard input closes."""
    where.REACH, doors.QUICK = map(float, sys.argv[1:])
    where.PATIENCE = max(where.PATIENCE, where.REACH)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        os.environ.update(request["environment"])
        out, err = io.StringIO(), io.StringIO()
        code: Any = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                run(request["arguments"])
            except SystemExit as end:
                code = end.code
        for name in request["environment"]:
            del os.environ[name]
        answers.write(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}) + "\n")


if __name__ == "__main__":
    main()
