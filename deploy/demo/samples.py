"""The sample messages (`deploy/samples/`), as they are sent."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).resolve().parent.parent / "samples"

_FILLER = re.compile(r'"@repeat:(\d+)"')


@dataclass(frozen=True)
class Sample:
    """One message, and what must come of it; see the README beside the samples."""

    tenant_id: str
    command: str
    door: Literal["durable", "answered"]
    headers: dict[str, str]
    payload: bytes
    expect: str
    note: str = ""
    body: dict[str, Any] = field(default_factory=dict[str, Any])


def load(name: str, folder: Path = FOLDER) -> list[Sample]:
    """Return the samples of one file, in order."""
    lines = (folder / name).read_text(encoding="utf-8").splitlines()
    return [_sample(json.loads(line)) for line in lines]


def _sample(line: dict[str, Any]) -> Sample:
    body = line.get("body", {})
    text = line.get("raw") or json.dumps(body, ensure_ascii=False)
    payload = _FILLER.sub(lambda found: f'"{"x" * int(found[1])}"', text).encode()
    return Sample(
        tenant_id=line["tenant_id"],
        command=line["command"],
        door=line["door"],
        headers=line["headers"],
        payload=payload,
        expect=line["expect"],
        note=line.get("note", ""),
        body=body,
    )
