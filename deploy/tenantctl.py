"""`tenantctl`: the command line of the service, with what runs it on this machine (`dev`, `demo`)."""

from __future__ import annotations

from deploy.commands import demo, dev
from handlers.cli.app import app, run

app.command(dev, group="Service")
app.command(demo, group="Service")


def main() -> None:
    """Run the command line; the exit code is 0 done, 1 refused, 2 misuse, 3 unavailable."""
    run()


if __name__ == "__main__":
    main()
