"""Variables that look like settings and are none: a slip of the pen would else be passed over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

_INJECTED = re.compile(r"TENANTS_(SERVICE_(HOST|PORT)\w*|PORT(_\d+_\w+)?)")
"""What Kubernetes tells every container of a service called `tenants`; nobody wrote it."""


class Unknown(NamedTuple):
    """A variable with our prefix that is no setting, and the setting whose name is near, if there is one."""

    variable: str
    nearest: str | None

    def sentence(self) -> str:
        """Return what to tell an operator."""
        meant = f": did you mean {self.nearest}?" if self.nearest else "."
        return f"{self.variable} is no setting, and nobody reads it{meant}"


def unknown_among(given: Iterable[str], prefix: str, known: Sequence[str]) -> list[Unknown]:
    """Return the variables of `given` with `prefix` that are no setting; `known` are settings without it."""
    found: list[Unknown] = []
    for variable in sorted(name for name in given if name.upper().startswith(prefix)):
        name = variable.upper().removeprefix(prefix)
        if name in known or _INJECTED.fullmatch(variable):
            continue
        near = get_close_matches(name, known, n=1)
        found.append(Unknown(variable, prefix + near[0] if near else None))
    return found
