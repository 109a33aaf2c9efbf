"""Values of all kinds, to be put into every field: some fit somewhere, most fit nowhere."""

from __future__ import annotations

from typing import Any

ID = "0197a3f0-1c5e-7b41-9d27-3f6e8a2b4c10"
TEXTS = (
    *(
        "",
        " ",
        "a",
        "é",
        "A",
        "-a",
        "a-",
        "a.b",
        "...",
        "xn--a",
        "now",
        "owner",
        "running",
        "active",
        "/",
        "*",
    ),
    *("a" * length for length in (63, 64, 128, 129, 200, 201, 255, 256, 318, 500, 501, 512, 513, 1000, 1001)),
    *("a\0b", "a\tb", "a\nb", "a\u2028b", "\u200b", "\ufeff", "a\u200db", "\u202ea", "\u3164", "\U000e0041"),
    *(
        ID,
        ID.upper(),
        ID.replace("-", ""),
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        f"{ID}0",
        "sealed:x",
        "tenant.activated",
    ),
    *("a@b.example", "a@b", "a b@c.example", "@b.example", "sealed:a@b.example", f"{'a' * 65}@b.example"),
    *(
        "0",
        "1",
        "-1",
        "01",
        "1.0",
        "30000",
        "30001",
        "500",
        "501",
        str(2**63 - 1),
        str(2**63),
        "true",
        "null",
    ),
)
VALUES: tuple[Any, ...] = (
    *(None, True, 0, 1, -1, 1.5, 30.0, 3650, 3651, 500, 501, 2**53 + 1, 2**63 - 1, 2**63, *TEXTS),
    *(
        [],
        ["a"],
        {},
        {"a": "b"},
        {"": ""},
        {"a" * 255: "x"},
        {"a" * 256: "x"},
        {"a": 1},
        {"a": None},
        {"a\0": ""},
    ),
    *({"sealed:": "x"}, {"\u202e": "x"}, {"a": {"b": [1, None]}}),
    *({str(number): "" for number in range(count)} for count in (16_384, 16_385)),
)
