"""All that `tenantctl doctor` looks at, from the ground up."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

from nats.errors import Error as NatsError

from handlers.bus.streams import definitions, limits_of
from handlers.cli.exits import Misuse
from handlers.cli.findings import (
    clocks,
    doors,
    engines,
    given,
    identity,
    jetstream,
    outlets,
    rights,
    walls,
)
from handlers.cli.findings.attempt import Check, attempt, failed
from handlers.cli.findings.finding import Finding
from handlers.cli.findings.leftovers import leftovers
from handlers.cli.projections import connections
from handlers.cli.unreachable import Unreachable
from handlers.cli.where import Common, bus, http_url, settings, source, store
from handlers.client import TenantClient
from handlers.settings import Settings
from handlers.store.connections import Connections
from handlers.store.errors import StoreError
from handlers.wire.subjects import Streams, Subjects
from tenant_domain.refusals import Refusal

_TABLES = b"""
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'service' AND c.relname = 'event_head'), current_setting('server_version')"""
"""By the catalogue, which anybody may read: a role without rights is told so by the checks that follow."""


async def examined(common: Common) -> AsyncGenerator[Finding]:
    """Yield findings; what stands on a server that is down is left out. Raises nothing."""
    try:
        chosen = settings(common)
    except Misuse as error:
        advice = "Correct what is named; docs/operating.md lists all settings with their units and bounds."
        yield Finding("settings", "broken", str(error), advice)
        return
    streams = Streams.of(chosen.subject_prefix)
    parts = (
        _given(chosen),
        _bus(common, chosen),
        _database(common, chosen),
        _outlets(common, streams),
    )
    for part in parts:
        async for finding in part:
            yield finding
    url = http_url(common) or f"http://127.0.0.1:{chosen.http_port}"
    for finding in await attempt("http", partial(doors.http, url)):
        yield finding


async def _each(checks: dict[str, Check]) -> AsyncGenerator[Finding]:
    for name, check in checks.items():
        for finding in await attempt(name, check):
            yield finding


async def _given(chosen: Settings) -> AsyncGenerator[Finding]:
    checks: dict[str, Check] = {"settings": given.strangers}
    for name in given.KEY_FILES:
        checks[name] = partial(given.key_file, chosen, name)
    async for finding in _each(checks):
        yield finding


async def _bus(common: Common, chosen: Settings) -> AsyncGenerator[Finding]:
    try:
        async with bus(common) as nc:
            client = TenantClient(nc, prefix=chosen.subject_prefix, timeout=doors.QUICK)
            checks: dict[str, Check] = {
                "nats": partial(jetstream.server, nc, source(common, "nats")),
                "jetstream": partial(jetstream.account, nc, chosen),
            }
            subjects, streams = Subjects(chosen.subject_prefix), Streams.of(chosen.subject_prefix)
            for name, wanted in definitions(subjects, streams, limits_of(chosen)).items():
                checks[name] = partial(jetstream.stream, nc, wanted)
            checks["commands"] = partial(doors.commands, nc, client)
            checks["queries"] = partial(doors.queries, nc, client)
            async for finding in _each(checks):
                yield finding
    except Unreachable as error:
        yield Finding("nats", "broken", error.found, error.advice)
    except Exception as error:  # noqa: BLE001 - whatever a client library makes of a URL or a server
        yield failed("nats", error)


async def _database(common: Common, chosen: Settings) -> AsyncGenerator[Finding]:
    try:
        async with connections(common) as pool:
            ((migrated, version),) = await pool.fetch(_TABLES, ())
            yield Finding("postgres", "ok", f"PostgreSQL {version}, where {source(common, 'postgres')} says")
            checks: dict[str, Check] = {
                "rights": partial(rights.postgres, pool),
                "clock of postgres": partial(clocks.postgres, pool),
            }
            if migrated:
                checks |= _engines(pool, chosen)
            async for finding in _each(checks):
                yield finding
            if not migrated:
                yield Finding("schema", "broken", "no tables", "Start the service: it makes its tables.")
    except Unreachable as error:
        yield Finding("postgres", "broken", error.found, error.advice)
    except Exception as error:  # noqa: BLE001 - whatever a driver makes of a URL or a server
        yield failed("postgres", error)


def _engines(pool: Connections, chosen: Settings) -> dict[str, Check]:
    return {
        "durable commands": partial(engines.partitions, pool),
        "sagas": partial(engines.agenda, pool),
        "master key": partial(identity.master_key, pool, chosen),
        "read models": partial(engines.read_models, pool),
        "dead letters": partial(engines.dead_letters, pool),
        "sizes": partial(outlets.claim_checks, pool),
        "erasure": partial(engines.erasure, pool),
        "tenants' reach": partial(walls.reach, pool, chosen),
        "leftovers": partial(leftovers, pool, chosen),
    }


async def _outlets(common: Common, streams: Streams) -> AsyncGenerator[Finding]:
    """Yield what needs both servers."""
    try:
        async with bus(common) as nc, connections(common) as pool, store(common) as log:
            ((migrated, _),) = await pool.fetch(_TABLES, ())
            checks: dict[str, Check] = {"clock of nats": partial(clocks.nats, nc, streams.events)}
            if migrated:
                checks["relay"] = partial(outlets.relay, nc, streams, pool)
                checks["clock of the log"] = partial(identity.clock, log)
                checks["identity of events"] = partial(identity.events, nc, streams, log)
                checks["live context"] = partial(outlets.live_context, nc, streams, log)
            async for finding in _each(checks):
                yield finding
    except (Refusal, NatsError, StoreError, OSError):
        yield Finding("relay", "broken", "needs both servers", "Start NATS and PostgreSQL first.")
    except Exception as error:  # noqa: BLE001 - as above
        yield failed("relay", error)
