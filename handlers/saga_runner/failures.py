"""What a failed attempt is recorded as: a sentence that shows neither secrets nor personal data."""

from __future__ import annotations

import traceback

import psycopg

from handlers.adapters.effects import EffectFailed, PermanentlyFailed
from sagas.definition import Action
from sagas.journal import Failure


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
        case psycopg.Error():
            return Failure(f"The database refused it ({type(error).__name__}, {error.sqlstate}).")
        case _:
            return Failure(f"It failed unexpectedly ({type(error).__name__}).")


def place(error: BaseException) -> str:
    """Return where `error` was raised, for the log."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "nowhere"
