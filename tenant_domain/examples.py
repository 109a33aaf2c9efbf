"""What all examples of messages share: they tell one story of one tenant, in valid commands and events.

Each aggregate has one canonical example of every message; the documents show them, the tests use them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

TENANT = UUID("01938f5e-7c00-7000-8000-000000000001")
OPERATION = UUID("01938f5e-7c00-7000-8000-0000000000a1")
INVITATION = UUID("01938f5e-7c00-7000-8000-0000000000b1")
BEGUN = datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
ENDED = datetime(2026, 11, 23, 9, 0, 1, tzinfo=UTC)
AGAIN = datetime(2026, 11, 23, 9, 0, 5, tzinfo=UTC)
