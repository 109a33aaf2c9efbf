"""A server that cannot be used: where it should be, why it is not, and what helps against that cause."""

from __future__ import annotations

import re

from tenant_domain.refusals import Unavailable

_CAUSES = (
    (
        r"password|authentication|pg_hba|role .* does not exist|not permitted to log in",
        "Correct user and password in {source}.",
    ),
    (
        r"database .* does not exist|permission denied for database",
        "Make the database and let this user connect (Rights in docs/operating.md), or correct {source}.",
    ),
    (
        r"too many|connection slots|too few slots",
        "Raise max_connections of PostgreSQL (or the limit of the role), or lower TENANTS_POOL_SIZE.",
    ),
    (r"starting up|shutting down|in recovery|not yet accepting", "Wait for it: it comes by itself."),
    (r"SSL|certificate|TLS", "Correct sslmode and sslrootcert in {source}."),
)
"""What PostgreSQL and libpq say of a connection that they refuse, and what helps."""


class Unreachable(Unavailable):
    """A server cannot be used: `found` says where and why, `advice` what to do."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(f"{found} {advice}")
        self.found = found
        self.advice = advice


def advice_for(why: str, source: str, otherwise: str) -> str:
    """Return what helps where PostgreSQL says `why`; `source` is what named it, `otherwise` for all else."""
    for pattern, advice in _CAUSES:
        if re.search(pattern, why, re.IGNORECASE):
            return advice.format(source=source)
    return otherwise
