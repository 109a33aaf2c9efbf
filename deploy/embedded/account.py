"""Whom the servers run as. PostgreSQL refuses root, so root lends them an unprivileged account."""

import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.errors import EmbeddedError

_CUSTOMARY = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account of this machine."""

    name: str
    uid: int
    gid: int


def for_servers(home: Path, places: Iterable[Path]) -> Account | None:
    """Return the account to run servers as whose data is in `home`; None for our own, unless that is root.

    It is the owner of `home` when that is not root; else the first that can enter all places of: who owns
    the folder around it (root at work in somebody's checkout), `postgres`, `nobody`. Raises EmbeddedError
    when none can, naming what is in the way.
    """
    if os.geteuid() != 0:
        return None
    owner = _account(home.stat().st_uid)
    candidates = [owner] if owner else [*_owner_around(home), *_customary()]
    if not candidates:
        raise EmbeddedError(
            f"PostgreSQL does not run as root, and this machine has none of the accounts "
            f"{', '.join(_CUSTOMARY)} to run it as: start as an ordinary user, or add one of them"
        )
    checked = [home.parent, *places]
    obstacles = {account: _first_obstacle(account, checked) for account in candidates}
    for account, obstacle in obstacles.items():
        if obstacle is None:
            return account
    tried = ", ".join(f"{account.name} cannot enter {obstacle}" for account, obstacle in obstacles.items())
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and no account that it could run as reaches its place: {tried}: "
        "choose a place that everyone may pass through, let others enter that folder (chmod o+x), or start "
        "as an ordinary user"
    )


def _customary() -> Iterable[Account]:
    for name in _CUSTOMARY:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        yield Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _owner_around(home: Path) -> Iterable[Account]:
    owners = (_account(place.stat().st_uid) for place in home.parents)
    return [owner for owner in owners if owner][:1]


def _account(uid: int) -> Account | None:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid) if uid != 0 else None


def _first_obstacle(account: Account, places: Iterable[Path]) -> Path | None:
    for place in places:
        for folder in (*reversed(place.parents), place):
            if not can_enter(account, folder):
                return folder
    return None


def can_enter(account: Account, folder: Path) -> bool:
    """Whether the folder's own mode lets the account pass through it."""
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def write_for(account: Account | None, file: Path, content: str) -> None:
    """Write a file that the account alone, or we alone without one, may read."""
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(content)
        if account:
            os.fchown(descriptor, account.uid, account.gid)
