"""Settings and key files: what is set, and whether it can be right."""

from __future__ import annotations

from handlers.cli.findings.finding import Finding
from handlers.settings import Settings, unknown

KEY_FILES = ("signing_key_file", "master_key_file", "certificate_key_file")


async def strangers() -> list[Finding]:
    """Find the variables with our prefix that nobody reads."""
    return [Finding(each.variable, "look", "no setting", each.sentence()) for each in unknown()]


async def key_file(chosen: Settings, name: str) -> Finding:
    """Look at the file of one key: it is there, and not for everybody."""
    path = getattr(chosen, name)
    variable = f"TENANTS_{name.upper()}"
    if path is None:
        return Finding(name, "look", "not set", f"Set {variable} where the service runs.")
    if path.exists() and path.stat().st_mode & 0o007:
        return Finding(name, "broken", f"{path}: everybody may read it", f"chmod 600 {path}")
    if path.exists() or chosen.create_keys:
        return Finding(name, "ok", str(path))
    return Finding(name, "look", f"no {path} here", "The service needs it where it runs.")
