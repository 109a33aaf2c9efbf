"""Rights in PostgreSQL: what the service's role may do, each that it lacks with the statement that helps."""

from __future__ import annotations

from handlers.cli.findings.finding import Finding
from handlers.store.connections import Connections
from handlers.store.rights import RIGHTS, Right, rights_of


async def postgres(pool: Connections) -> list[Finding]:
    """Look for each right that the service needs."""
    (row,) = await pool.fetch(RIGHTS, ())
    return [_finding(right) for right in rights_of(row)]


def _finding(right: Right) -> Finding:
    if right.given:
        return Finding(right.what, "ok", right.found)
    return Finding(right.what, "broken", right.found, right.advice)
