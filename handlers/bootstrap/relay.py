"""The role of the relay."""

from handlers.bootstrap.process import Process
from handlers.relay.role import RelayRole


def relay_role(process: Process) -> RelayRole:
    """Return what brings events, dead letters and advisories from the log to the bus and back."""
    settings = process.settings
    return RelayRole(
        process.nc,
        process.store,
        process.keyring,
        process.subjects,
        process.streams,
        process.declare,
        window=settings.relay_window,
        poll=settings.poll_interval,
        letter_retention=settings.dead_letter_retention,
        commits=process.commits,
        beats=process.beats,
    )
