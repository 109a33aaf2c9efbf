"""`tenantctl`: the command line of the service, with what runs it on this machine (`dev`, `demo`)."""

from __future__ import annotations

from handlers.cli import app, run


def main() -> None:
    """Run the command line; the exit code is 0 done, 1 refused, 2 misuse, 3 unavailable."""
    from deploy import commands  # the embedded servers are needed by `dev` and `demo` alone

    commands.register(app)
    run()


if __name__ == "__main__":
    main()
