"""`tenantctl context …`: the live context that other services watch, looked at or written anew."""

from __future__ import annotations

import json

from cyclopts import App

from handlers.cli import output
from handlers.cli.asking import one, tenant_of
from handlers.cli.where import PATIENCE, Common, bus, settings, store

app = App(name="context", help="The live context that other services watch: look at it, or write it anew.")

COMMON = Common()


@app.command
async def show(tenant: str, *, common: Common = COMMON) -> None:
    """Show what other services see of a tenant.

    Example: tenantctl context show acme

    Parameters
    ----------
    tenant
        Id or subdomain of the tenant.
    """
    from handlers.adapters import jetstream
    from handlers.client import TenantClient
    from handlers.wire.subjects import Streams
    from tenant_domain.refusals import TenantNotFound

    streams = Streams.of(settings(common).subject_prefix)
    async with bus(common) as nc:
        client = TenantClient(nc, prefix=settings(common).subject_prefix, timeout=PATIENCE)
        tenant_id = await tenant_of(client, tenant)
        subject = streams.context_subject(str(tenant_id))
        entry = await jetstream.last_message(nc, streams.context_stream, subject)
    if entry is None:
        raise TenantNotFound(f"The live context has no entry of {tenant_id}.")
    one(json.loads(entry.body), common)


@app.command
async def rebuild(*, common: Common = COMMON) -> None:
    """Write every entry anew from the event store, and take away what else stands in the bucket.

    Whoever reads or watches misses nothing meanwhile. A bucket that was lost is filled without being asked.

    Example: tenantctl context rebuild
    """
    from prometheus_client import CollectorRegistry

    from handlers.bus.streams import declare, limits_of
    from handlers.cli.progress import bar
    from handlers.relay.context import ContextRelay
    from handlers.relay.context_rebuild import rebuild as fill
    from handlers.relay.metrics import RelayMetrics
    from handlers.wire.subjects import Streams, Subjects

    chosen = settings(common)
    streams = Streams.of(chosen.subject_prefix)
    subjects, limits = Subjects(chosen.subject_prefix), limits_of(chosen)
    async with bus(common) as nc, store(common) as log:
        relay = ContextRelay(
            nc,
            log,
            subjects,
            streams,
            lambda: declare(nc, subjects, streams, limits),
            metrics=RelayMetrics(CollectorRegistry()),
        )
        with bar("entries", quiet=common.as_json) as advance:
            last = await fill(nc, log, relay, streams.context_stream, progress=advance)
    if common.as_json:
        output.lines(({"bucket": streams.context, "last": last},))
    else:
        print(f"{streams.context} says what holds up to position {last}.")
