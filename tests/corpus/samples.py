"""One stored body of every event in every schema version there ever was; each is kept for good.

`python -m tests.corpus.samples` adds those of new events and versions. What is there is never written again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from handlers.wire.events import Meta, encoded
from tenant_domain.examples import TENANT
from tenant_domain.registry import EVENTS
from tests.support.examples import EVENT_EXAMPLES

FOLDER = Path(__file__).parent / "events"
META = Meta(
    actor="auth0|operator",
    correlation_id="01938f5e-7c00-7000-8000-0000000000c1",
    causation_id=str(TENANT),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)


class Sample(NamedTuple):
    """A stored body as it once was written."""

    name: str
    version: int
    body: bytes


def samples() -> Iterator[Sample]:
    """Yield the corpus, by name and version."""
    for path in sorted(FOLDER.glob("*.json")):
        name, version = path.stem.rsplit(".v", 1)
        yield Sample(name, int(version), path.read_bytes().rstrip(b"\n"))


def write_new() -> None:
    """Write the samples that are missing for today's versions."""
    for name, event in EVENT_EXAMPLES.items():
        path = FOLDER / f"{name}.v{EVENTS[name].schema}.json"
        if not path.exists():
            path.write_bytes(encoded(event, META) + b"\n")


if __name__ == "__main__":
    write_new()
