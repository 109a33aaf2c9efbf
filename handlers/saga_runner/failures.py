"""What a failed attempt is recorded as: a sentence that shows neither secrets nor personal data."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import PurePath

import psycopg

from handlers.adapters.effects import EffectFailed, PermanentlyFailed
from sagas.definition import Action
from sagas.journal import Failure

_RIGHTS = re.compile(
    r"permission denied (to (create|alter|drop) (role|database|extension)|for (database|schema) \w+)"
).fullmatch
_OBJECTS = re.compile(
    r"((?:permission denied for|must be owner of) [a-z ]+?)(?: (pg_\w+))?(?: .+)?"
).fullmatch
"""Names of what is in a tenant's schema are the tenant's words; those of the catalogue are not."""

_ID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}").search


class EffectRaised(Exception):
    """An effect ended with `cause`, and left nothing in the database.

    `action` is whose effect it was, where it is not the one that was asked for, but came later in its
    transaction.
    """

    def __init__(self, cause: Exception, action: Action | None = None) -> None:
        super().__init__(type(cause).__name__)
        self.cause, self.action = cause, action


class Overtaken(Exception):
    """Somebody else appended to the run: an operator, or the worker that took it over."""


def described(error: Exception) -> Failure:
    """Return what to record of `error`. Only our own errors may speak: others' texts may quote data."""
    match error:
        case PermanentlyFailed():
            return Failure(str(error), permanent=True)
        case EffectFailed():
            return Failure(str(error))
        case TimeoutError():
            return Failure("It did not end within its time limit.")
        case psycopg.errors.InsufficientPrivilege():
            return Failure(_lacking(error))
        case OSError() if isinstance(error.filename, str) and error.errno is not None:
            return Failure(f"{os.strerror(error.errno)}: {_folder(error.filename)}.")
        case psycopg.Error():
            return Failure(f"The database refused it ({type(error).__name__}, {error.sqlstate}).")
        case _:
            return Failure(f"It failed unexpectedly ({type(error).__name__}).")


def _lacking(error: psycopg.Error) -> str:
    """Return which right the service's role lacks, in the server's words where these name nothing else."""
    said = error.diag.message_primary or ""
    missing = "The role of TENANTS_POSTGRES_URL lacks a right; `tenantctl doctor` names the GRANT that helps."
    if _RIGHTS(said):
        return f"The database refused it: {said} ({error.sqlstate}). {missing}"
    found = _OBJECTS(said)
    if found is None:
        return f"The database refused it ({error.sqlstate}). {missing}"
    if found[2] is not None:
        return f"The database refused it: {found[1]} {found[2]} ({error.sqlstate}). {missing}"
    return (
        f"The database refused it: {found[1]} in the tenant's schema ({error.sqlstate}). It is of another"
        " role, which `\\d` of that schema names: give it to the tenant's role, or drop it, and retry."
    )


def _folder(path: str) -> str:
    """Return a path up to the tenant's folder: names of files may be personal."""
    parts = PurePath(path).parts
    end = next((number for number, part in enumerate(parts) if _ID(part)), len(parts) - 2)
    return str(PurePath(*parts[: end + 1]))


def place(error: BaseException) -> str:
    """Return where `error` was raised, for the log."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "nowhere"
