"""`tenantctl events …`: the stream of events, watched or filled again."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from handlers.cli import output
from handlers.cli.asking import tenant_of
from handlers.cli.exits import Misuse
from handlers.cli.where import Common, Limit, bus, connected, settings, store

if TYPE_CHECKING:
    from handlers.client import ReceivedEvent

app = App(name="events", help="The stream of events: watch it, or fill it again from the store.")

COMMON = Common()


@app.command
async def tail(
    tenant: str | None = None,
    *,
    from_position: Annotated[int | None, Parameter(name="--from")] = None,
    types: Annotated[list[str] | None, Parameter(name="--type", negative="")] = None,
    limit: Limit = 0,
    common: Common = COMMON,
) -> None:
    """Print events as they come, until Ctrl-C.

    Example: tenantctl events tail acme --from 1 --type tenant.activated

    Parameters
    ----------
    tenant
        Id or subdomain of a tenant; all tenants by default.
    from_position
        First position; only what comes from now on by default.
    types
        Name of a fact such as tenant.activated, as often as needed.
    limit
        End after so many events; 0 is never.
    """
    async with connected(common) as client:
        target = None if tenant is None else await tenant_of(client, tenant)
        count = 0
        async with aclosing(client.subscribe(from_position, tenant_id=target, types=types)) as events:
            async for event in events:
                _print(_record(event), common)
                count += 1
                if count == limit:
                    return


@app.command
async def rebuild(
    *,
    first: Annotated[int, Parameter(name="--from")] = 1,
    adopt: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Make TENANT_EVENTS anew and fill it from the event store: the same ids, positions and order.

    Subscribers go on where they were. Needed when the stream was lost, or holds what the store does not.

    Example: tenantctl events rebuild

    Parameters
    ----------
    first
        First position that the stream is to hold.
    adopt
        Also where the streams belong to another log: from now on they are this one's. What they hold of the
        other is lost.
    """
    from prometheus_client import CollectorRegistry

    from handlers.adapters import jetstream
    from handlers.bus import marks
    from handlers.bus.streams import declare, definitions, limits_of, recreate_events
    from handlers.cli.progress import bar
    from handlers.relay.events import EventRelay
    from handlers.relay.metrics import RelayMetrics
    from handlers.relay.rebuild import BeyondTheLog
    from handlers.relay.rebuild import rebuild as fill
    from handlers.wire.subjects import Streams, Subjects

    chosen = settings(common)
    subjects, streams = Subjects(chosen.subject_prefix), Streams.of(chosen.subject_prefix)
    limits = limits_of(chosen)
    async with bus(common) as nc, store(common) as events:
        relay = EventRelay(
            nc,
            events,
            subjects,
            streams.events,
            lambda: declare(nc, subjects, streams, limits),
            window=chosen.relay_window,
            metrics=RelayMetrics(CollectorRegistry()),
        )
        identity = await events.identity()
        info = await jetstream.stream_info(nc, streams.events)
        mark = marks.mark_of(info) if info else None
        if mark is not None and not identity.follows(mark) and not adopt:
            raise Misuse(
                f"{streams.events} belongs to the log {mark.log} on the server {mark.system} (timeline"
                f" {mark.timeline}), and this is {identity.log} on {identity.system} ({identity.timeline}):"
                " with --adopt the streams become this one's."
            )
        with bar("events", quiet=common.as_json) as advance:
            try:
                head = await fill(
                    nc,
                    events,
                    relay,
                    subjects,
                    streams.events,
                    lambda position: recreate_events(nc, subjects, streams, limits, position),
                    first=first,
                    progress=advance,
                )
            except BeyondTheLog as error:
                raise Misuse(f"--from: {error}") from None
        await marks.adopt(nc, definitions(subjects, streams, limits), identity)
    if common.as_json:
        output.lines(({"stream": streams.events, "first": first, "last": head},))
    else:
        print(f"{streams.events} holds positions {first} to {head}.")


def _record(event: ReceivedEvent) -> dict[str, Any]:
    return {
        "position": event.position,
        "tenant_id": event.tenant_id,
        "version": event.version,
        "type": event.type,
        "time": event.time,
        "data": event.fields,
        "actor": event.actor,
        "correlation_id": event.correlation_id,
    }


def _print(record: dict[str, Any], common: Common) -> None:
    if common.as_json:
        output.lines((record,))
    else:
        time = f"{record['time']:%H:%M:%S.%f}"[:-3]
        data = output.encoded(record["data"])
        print(f"{record['position']:>8}  {time}  {record['tenant_id']}  {record['type']:<32} {data}")
    sys.stdout.flush()
