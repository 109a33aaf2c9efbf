"""The role of the relay."""

from functools import partial

from handlers.bootstrap.process import Process
from handlers.bus.streams import recreate_events
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
        recreate=partial(recreate_events, process.nc, process.subjects, process.streams, process.limits),
    )
