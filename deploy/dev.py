"""The development stack: embedded NATS and PostgreSQL, and the whole service on them.

Everything that it keeps lies in one data folder; a second start goes on from there.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import structlog

from deploy.embedded import EmbeddedError, EmbeddedStack, Endpoints, ports
from deploy.embedded.supervisor import STOP_WITHIN
from deploy.processes import ServiceProcess
from handlers.cli.where import ENDPOINTS
from handlers.http_edge import tokens
from handlers.settings import PARTITIONS
from handlers.wire.subjects import Subjects

_log = structlog.get_logger()

ADMIN_TOKEN_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Addresses:
    """Where a running stack is; the URLs carry the credentials of a trusted service."""

    nats: str
    http: str
    postgres: str
    admin_token: str


@dataclass(frozen=True)
class Options:
    """How to run a stack. Port 0 picks a free one at the first start, and keeps it."""

    data_dir: Path
    nats_port: int = 0
    http_port: int = 0
    sync_interval: str = "always"
    workers: int = os.cpu_count() or 1
    environment: tuple[tuple[str, str], ...] = ()
    stop_within: float = STOP_WITHIN
    """Seconds that PostgreSQL may take to stop cleanly."""


class DevStack:
    """The whole service on embedded servers, from `start` to `stop`; also an async context manager."""

    def __init__(self, options: Options) -> None:
        self._options = options
        given = dict(options.environment)
        self.servers = EmbeddedStack(
            options.data_dir,
            nats_port=options.nats_port,
            sync_interval=options.sync_interval,
            subjects=Subjects(given.get("TENANTS_SUBJECT_PREFIX", Subjects().prefix)),
            partitions=int(given.get("TENANTS_PARTITIONS", PARTITIONS)),
            on_restart=lambda name: _log.warning("server restarted", server=name),
            stop_within=options.stop_within,
        )
        self.processes: list[ServiceProcess] = []
        self._ours = False

    async def __aenter__(self) -> Addresses:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> Addresses:
        """Start everything, and return where it is once all of it is ready.

        Raises EmbeddedError when the servers can't run here, and ProcessFailed when the service can't.
        """
        try:
            endpoints = await self.servers.start()
            self._ours = True
            addresses = await self._start_service(endpoints)
        except BaseException:
            await self.stop()
            raise
        self._write_endpoints(addresses)
        return addresses

    async def stop(self, *, at_once: bool = False) -> None:
        """Stop the service, then the servers; nothing is left running.

        With `at_once`, also in the middle of another stop, none of them is given time.
        """
        if self._ours:
            (self._options.data_dir / ENDPOINTS).unlink(missing_ok=True)
        if at_once:
            for process in self.processes:
                process.kill()
        await asyncio.gather(*(process.stop() for process in self.processes))
        await self.servers.stop(at_once=at_once)

    async def _start_service(self, endpoints: Endpoints) -> Addresses:
        environment = self._environment(endpoints)
        side = {f"commands-{number}": ports.choose() for number in range(1, self._options.workers + 1)}
        commands = [
            ServiceProcess(name, ("commands",), environment | {"TENANTS_METRICS_PORT": str(port)})
            for name, port in side.items()
        ]
        shown = ",".join(f"{name}=http://127.0.0.1:{port}/metrics" for name, port in side.items())
        told = environment | {"TENANTS_METRICS_OF": shown}
        rest = ServiceProcess("service", ("sagas", "projections", "relay", "http"), told)
        self.processes = [rest, *commands]
        said = (await asyncio.gather(*(process.start() for process in self.processes)))[0]
        signer = tokens.Signer.from_file(Path(environment["TENANTS_SIGNING_KEY_FILE"]))
        token = signer.sign(user="dev", role="operator", lifetime=ADMIN_TOKEN_SECONDS)
        return Addresses(endpoints.nats_url, said["http"], endpoints.postgres_url, token)

    def _environment(self, endpoints: Endpoints) -> dict[str, str]:
        data = self._options.data_dir
        return {
            "TENANTS_NATS_URL": endpoints.nats_url,
            "TENANTS_POSTGRES_URL": endpoints.postgres_url,
            "TENANTS_OBJECTS_URL": f"file:{data / 'objects'}",
            "TENANTS_HTTP_HOST": "127.0.0.1",
            "TENANTS_HTTP_PORT": str(self._http_port()),
            "TENANTS_MASTER_KEY_FILE": str(data / "keys" / "master.key"),
            "TENANTS_SIGNING_KEY_FILE": str(data / "keys" / "signing.pem"),
            "TENANTS_CERTIFICATE_KEY_FILE": str(data / "keys" / "certificates.pem"),
            "TENANTS_CREATE_KEYS": "true",
            "TENANTS_ENVIRONMENT": "dev",
            **{
                key: value
                for key, value in os.environ.items()
                if key.startswith(("TENANTS_LOG", "TENANTS_SMTP"))
            },
            **dict(self._options.environment),
        }

    def _http_port(self) -> int:
        """Return the port of the HTTP edge: the wished, else that of former starts, else a free one.

        Raises EmbeddedError when another program listens on it.
        """
        memory = self._options.data_dir / "http.port"
        port = self._options.http_port or (int(memory.read_text()) if memory.exists() else ports.choose())
        if not ports.is_free(port):
            raise EmbeddedError(
                f"port {port} for http is taken: stop what listens there, or choose another --http-port"
            )
        memory.write_text(f"{port}\n")
        return port

    def _write_endpoints(self, addresses: Addresses) -> None:
        path = self._options.data_dir / ENDPOINTS
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(addresses)))
