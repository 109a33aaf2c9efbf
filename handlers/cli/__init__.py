"""The command line: `app` has the commands that need no embedded servers."""

from handlers.cli.app import app

__all__ = ["app"]
