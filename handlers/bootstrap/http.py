"""The role of the HTTP edge."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import msgspec
from prometheus_client import REGISTRY

from handlers.adapters.key_files import named_by
from handlers.bootstrap.adapters import certificate_key, export_shelf
from handlers.bootstrap.process import Process
from handlers.bus.asyncapi import asyncapi_document
from handlers.execution.decode import Request
from handlers.execution.reply import Reply
from handlers.execution.versions import Versions
from handlers.http_edge.app import http_app
from handlers.http_edge.health import Health
from handlers.http_edge.server import HttpServer
from handlers.http_edge.tenants import Doors
from handlers.http_edge.tokens import Signer
from handlers.queries import Queries


def http_role(
    process: Process,
    execute: Callable[[Request], Awaitable[Reply]],
    versions: Versions,
    queries: Queries,
    health: Health,
    started: AsyncExitStack,
) -> HttpServer:
    """Return the HTTP edge over what executes commands, what answers queries, and what tells of health.

    `versions` looks who knows a command that does not fit its form here.
    """
    settings = process.settings
    with named_by("TENANTS_SIGNING_KEY_FILE"):
        signer = Signer.from_file(
            settings.signing_key_file or Path("signing.pem"),
            create=settings.create_keys,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
        )

    app = http_app(
        Doors(
            execute,
            queries.answer,
            uuid4,
            export_shelf(process, started).fetch,
            instead_of=versions.instead_of,
        ),
        signer=signer,
        more_keys=(certificate_key(settings).jwk(),),
        health=health,
        asyncapi=msgspec.json.encode(
            asyncapi_document(process.subjects, process.streams, version("tenant-service"))
        ),
        registry=REGISTRY,
        others={name: url for name, _, url in (each.partition("=") for each in settings.metrics_of)},
        origins=settings.cors_origins,
    )
    return HttpServer(app, host=settings.http_host, port=settings.http_port)
