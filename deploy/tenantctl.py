"""`tenantctl`: the command line of the service, with what runs it on this machine (`dev`, `demo`)."""

from __future__ import annotations

from handlers.cli.app import app, run

app.command("deploy.commands:dev", name="dev", group="Service")
app.command("deploy.commands:demo", name="demo", group="Service")


def main() -> None:
    """Run the command line; the exit code is 0 done, 1 refused, 2 misuse, 3 unavailable."""
    run()


if __name__ == "__main__":
    main()
