"""NATS and JetStream: the server, this account's limits, the streams."""

from __future__ import annotations

from nats.aio.client import Client

from handlers.adapters import jetstream
from handlers.adapters.jetstream import Json
from handlers.bus.stream_rules import departures
from handlers.cli.findings.finding import Finding
from handlers.settings import GIB, Settings

ENABLE = "Start nats-server with JetStream (-js), and enable it for this user's account."


async def server(nc: Client, source: str) -> Finding:
    """Tell the server's version, and what named it."""
    version = nc.connected_server_version
    number = f"{version.major}.{version.minor}.{version.patch}"
    return Finding("nats", "ok", f"nats-server {number}, where {source} says")


async def account(nc: Client, chosen: Settings) -> Finding:
    """Look whether this account has JetStream, and room for the streams that have a size."""
    try:
        info = await jetstream.call(nc, "INFO")
    except jetstream.JetStreamError as error:
        return Finding("jetstream", "broken", str(error), ENABLE)
    limit = info.get("limits", {}).get("max_storage", -1)
    needed = (chosen.commands_max_bytes + chosen.dead_letters_max_bytes) * chosen.replicas
    if 0 <= limit < needed:
        found = f"the account may store {limit / GIB:.1f} GiB, and streams may need {needed / GIB:.1f}"
        advice = "Raise the account's limit, or lower TENANTS_COMMANDS_MAX_BYTES."
        return Finding("jetstream", "look", found, advice)
    room = "without a limit" if limit < 0 else f"of {limit / GIB:.1f} GiB"
    return Finding("jetstream", "ok", f"{info.get('storage', 0) / GIB:.2f} GiB stored, {room}")


async def stream(nc: Client, wanted: Json) -> Finding:
    """Look whether a stream is there, and as it was declared."""
    name = wanted["name"]
    try:
        info = await jetstream.stream_info(nc, name)
    except jetstream.JetStreamError as error:
        return Finding(name, "broken", str(error), ENABLE)
    if info is None:
        return Finding(name, "broken", "missing", "Start the service: it declares its streams.")
    if other := departures(info, wanted):
        advice = (
            "A running service puts back what was weakened; what stays, change in the stream or the settings."
        )
        return Finding(name, "broken", "; ".join(other.values()), advice)
    state = info["state"]
    return Finding(name, "ok", f"{state['messages']} messages, last {state['last_seq']}")
