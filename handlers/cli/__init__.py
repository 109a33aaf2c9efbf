"""The command line: everything that an operator or a developer asks of a running service."""

from handlers.cli.app import app, run

__all__ = ["app", "run"]
