"""The table of settings in docs/operating.md. `python -m tests.support.operating` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from handlers.settings import Settings, unit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
HEAD = "| variable | default | unit | meaning |\n|---|---|---|---|\n"


def settings_table() -> str:
    """Return a line for each setting."""
    rows = (
        (f"`TENANTS_{name.upper()}`", _shown(field.default), unit(name) or "", _cell(field.description))
        for name, field in Settings.model_fields.items()
    )
    return HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _shown(value: Any) -> str:
    match value:
        case SecretStr():
            return f"`{value.get_secret_value()}`"
        case None | () | "":
            return ""
        case tuple():
            return f"`{','.join(map(str, value))}`"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case dict():
            pairs = value.items()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            return f"`{','.join(f'{name}={limit}' for name, limit in pairs)}`"  # pyright: ignore[reportUnknownVariableType]
        case float():
            return f"`{value:g}`"
        case bool():
            return f"`{str(value).lower()}`"
        case _:
            return f"`{value}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page[: page.index(HEAD)] + settings_table(), encoding="utf-8")
