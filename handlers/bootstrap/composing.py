"""Puts the roles of a process together, in the order of their start."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Protocol
from uuid import uuid4

from prometheus_client import REGISTRY

from handlers.bootstrap.commands import commands_role, lone_forwarder, looking_versions
from handlers.bootstrap.http import http_role
from handlers.bootstrap.process import Process
from handlers.bootstrap.reading import projections_role, reading
from handlers.bootstrap.relay import relay_role
from handlers.bootstrap.sagas import sagas_role, tenant_watch
from handlers.bus.discovery import Discovery
from handlers.bus.endpoints import Endpoint
from handlers.bus.metrics import EndpointMetrics
from handlers.bus.queries import QueryDoor
from handlers.bus.stream_watch import StreamWatch
from handlers.http_edge.health import Health
from handlers.http_edge.server import HttpServer

ROLES = ("commands", "sagas", "projections", "relay", "http")


class Role(Protocol):
    """A part of the service that runs from `start` to `stop`."""

    async def start(self) -> None:
        """Begin to work."""
        ...

    async def stop(self) -> None:
        """End, cleanly."""
        ...


@dataclass(slots=True)
class Composition:
    """The roles of a process in the order of their start; `http` is the HTTP edge, where it is among them."""

    roles: list[Role] = field(default_factory=list[Role])
    http: HttpServer | None = None


async def composed(
    process: Process, names: Collection[str], health: Health, started: AsyncExitStack
) -> Composition:
    """Make the roles of these names; what only they use ends with `started`."""
    made = Composition()
    endpoints: list[Endpoint] = []
    watch = StreamWatch(lambda: process.nc, process.definitions, process.declare, REGISTRY)
    made.roles.append(watch)
    if "relay" in names:
        made.roles.append(relay_role(process))
    queries = await reading(process, started) if {"projections", "http"} & set(names) else None
    if "projections" in names and queries is not None:
        door = QueryDoor(process.nc, queries, process.subjects)
        endpoints += door.endpoints
        made.roles += [projections_role(process), door]
    if "sagas" in names:
        made.roles += [sagas_role(process, started), tenant_watch(process)]
    commands = commands_role(process) if "commands" in names else None
    if commands is not None:
        endpoints += commands.endpoints
        made.roles.append(commands)
    if "http" in names and queries is not None:
        forwarder = commands.forwarder if commands else await lone_forwarder(process, started)
        versions = commands.versions if commands else looking_versions(process, started)
        made.http = http_role(process, forwarder.execute, versions, queries, health, started)
        made.roles.append(made.http)
    if endpoints:
        REGISTRY.register(EndpointMetrics(endpoints))
        made.roles.append(
            Discovery(process.nc, endpoints, service_id=uuid4().hex, version=version("tenant-service"))
        )
    return made
