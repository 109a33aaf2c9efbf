"""What a shell, a CI system or a developer's profile leaves in the environment: a test must not see it."""

from __future__ import annotations

import os
import re

_FOREIGN = re.compile(
    r"TENANTS_.*"  # settings of a service that somebody runs
    r"|(PG|AWS_|OTEL_|NATS_).*"  # what drivers take where we say nothing
    r"|(http|https|all|no|ftp)_proxy"  # servers of tests are on loopback
    r"|NO_COLOR|FORCE_COLOR|CLICOLOR.*|COLUMNS|LINES|TTY_.*"  # how wide and how colourful tables are
    r"|PYTEST_ADDOPTS|PYTHON(WARNINGS|OPTIMIZE|UNBUFFERED|IOENCODING)",  # for this run, not for its children
    re.IGNORECASE,
)


def forget() -> None:
    """Take out of the environment what is another program's; for this process and those that it starts."""
    for name in [name for name in os.environ if _FOREIGN.fullmatch(name)]:
        del os.environ[name]
