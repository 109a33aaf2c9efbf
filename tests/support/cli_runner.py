"""Runs command lines one after the other in one process, so that a test does not pay for imports.

Reads one JSON object with arguments from each line of standard input, writes one JSON object to standard
output. An argument of its own says for how many seconds servers are looked for, and looked at.
"""

import contextlib
import io
import json
import os
import sys
from typing import Any

from handlers.cli import checks, run, where


def main() -> None:
    """Serve until standard input closes."""
    if len(sys.argv) > 1:
        where.REACH = checks.QUICK = float(sys.argv[1])
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
