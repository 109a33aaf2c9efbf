"""The role of commands, and the way of commands in a process that has no bus door of them."""

from contextlib import AsyncExitStack

from handlers.adapters.hints import CommitTeller
from handlers.bootstrap.process import Process
from handlers.bus.commands import CommandsRole, Limits
from handlers.bus.routing.forwarding import PATIENCE, Forwarder
from handlers.bus.routing.owners import HINT, Owners
from handlers.execution.executor import Executor
from handlers.execution.metrics import CommandMetrics
from handlers.execution.versions import Versions
from handlers.store.cache import StreamCache


def commands_role(process: Process) -> CommandsRole:
    """Return the durable intake and the answered door, with the executor that they share."""
    settings = process.settings
    return CommandsRole(
        process.nc,
        process.store,
        process.postgres_url,
        settings.policy(),
        process.keyring,
        fingerprint=process.master_key.fingerprint,
        subjects=process.subjects,
        streams=process.streams,
        limits=Limits(
            cached_states=settings.cached_states,
            batch_size=settings.batch_size,
            waiting_commands=settings.waiting_commands,
            unavailable_after=settings.unavailable_after,
            partitions=settings.partitions,
            tries=settings.command_tries,
            lease=settings.partition_lease,
            retention=settings.command_retention,
        ),
        beats=process.beats,
        largest=process.largest,
    )


def looking_versions(process: Process, started: AsyncExitStack) -> Versions:
    """Return what looks which versions live, and says nothing: this process takes no commands over."""
    versions = Versions(process.store)
    versions.start(silent=True)
    started.push_async_callback(versions.stop)
    return versions


async def lone_forwarder(process: Process, started: AsyncExitStack) -> Forwarder:
    """Return the way of commands for the HTTP edge of a process that has no other door of commands.

    They are decided by the workers that own their partitions, and here where those are away. It ends with
    `started`.
    """
    settings = process.settings
    teller = CommitTeller(process.nc, process.subjects.hint("committed"))
    await teller.start()
    started.push_async_callback(teller.stop)
    metrics = CommandMetrics()
    executor = Executor(
        process.store,
        settings.policy(),
        process.keyring,
        fingerprint=process.master_key.fingerprint,
        cache=StreamCache(settings.cached_states),
        committed=teller.moved,
        batch_size=settings.batch_size,
        waiting_commands=settings.waiting_commands,
        unavailable_after=settings.unavailable_after,
        metrics=metrics,
        beat=process.beats.engine("executor"),
        largest=process.largest,
    )
    await executor.start()
    started.push_async_callback(executor.stop)
    owners = Owners(lambda: process.nc, process.subjects.hint(HINT), process.store.partition_owners.read)
    await owners.start()
    started.push_async_callback(owners.stop)
    forwarder = Forwarder(
        lambda: process.nc,
        process.subjects,
        owners,
        executor,
        metrics,
        most=settings.waiting_commands,
        patience=settings.unavailable_after + PATIENCE,
    )
    await forwarder.start()
    started.push_async_callback(forwarder.stop)
    return forwarder
