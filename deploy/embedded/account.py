"""Whom the servers run as. PostgreSQL refuses root, so root lends them an unprivileged account."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded.errors import EmbeddedError

_CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An unprivileged account of this machine."""

    name: str
    uid: int
    gid: int


def for_servers(folder: Path) -> Account | None:
    """Return the account that the servers of a data folder run as, None for our own.

    Only root changes accounts: to the one that already owns the folder's servers, else to an existing
    unprivileged one. Raises EmbeddedError when the machine has none.
    """
    if os.geteuid() != 0:
        return None
    for entry in _entries(folder):
        if entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and this machine has none of the accounts "
        f"{', '.join(_CANDIDATES)} to run it as: start as an ordinary user, or add one of them"
    )


def _entries(folder: Path) -> list[pwd.struct_passwd]:
    found: list[pwd.struct_passwd] = []
    if folder.exists():
        found += [entry for entry in pwd.getpwall() if entry.pw_uid == folder.stat().st_uid]
    found += [entry for name in _CANDIDATES for entry in pwd.getpwall() if entry.pw_name == name]
    return found


def can_enter(account: Account, folder: Path) -> bool:
    """Whether the folder's own mode lets the account pass through it."""
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def must_reach(account: Account, folder: Path) -> None:
    """Raise EmbeddedError naming the first folder above, or the folder itself, that shuts the account out."""
    for place in [*reversed(folder.parents), folder]:
        if not can_enter(account, place):
            raise EmbeddedError(
                f"PostgreSQL does not run as root, so its account here is {account.name}, which cannot enter "
                f"{place} on the way to {folder}: choose a place that everyone may pass through, "
                f"let others enter that folder (chmod o+x), or start as an ordinary user"
            )
