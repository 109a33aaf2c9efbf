"""The engines, by what they leave in PostgreSQL: workers of partitions, runs, read models, dead letters."""

from __future__ import annotations

import asyncio

from handlers.adapters.sweep import MEANS, Means
from handlers.cli.findings import doors
from handlers.cli.findings.finding import Finding
from handlers.projector.parking import parked_streams
from handlers.projector.tables import LIVE
from handlers.store.connections import Connections
from projections.registry import READ_MODELS

LATE = 10.0
"""Seconds after which a due run that nobody has taken means that nobody will."""

HEAD = b"SELECT position FROM service.event_head"
# A lease stands on for an hour where the database's clock was put back; its connection ends with its worker.
_WORKERS = b"""
SELECT count(*), count(*) FILTER (WHERE EXISTS (
    SELECT FROM service.command_workers w WHERE w.owner = p.owner AND w.lease_until > now()
    AND (w.pid IS NULL OR EXISTS (
        SELECT FROM pg_stat_activity s WHERE s.pid = w.pid AND s.backend_start = w.backend_start))))
FROM service.command_progress p WHERE p.partition >= 0"""
_LETTERS = b"""
SELECT count(*), count(*) FILTER (WHERE published_at IS NULL) FROM service.dead_letters d
WHERE NOT EXISTS (SELECT FROM service.dead_letter_handling h WHERE h.id = d.id)"""
_AGENDA = b"""
SELECT count(*), count(*) FILTER (WHERE due_at < now() - make_interval(secs => %s)
    AND NOT EXISTS (SELECT FROM service.saga_workers w WHERE w.owner = a.owner AND w.lease_until > now()
    AND (w.pid IS NULL OR EXISTS (
        SELECT FROM pg_stat_activity s WHERE s.pid = w.pid AND s.backend_start = w.backend_start))))
FROM service.saga_agenda a"""


async def partitions(pool: Connections) -> Finding:
    """Look whether each partition of durable commands has a worker."""
    ((count, held),) = await pool.fetch(_WORKERS, ())
    found = f"{held} of {count} partitions have a worker"
    if held < count:
        return Finding("durable commands", "broken", found, "Start `tenantctl serve --role commands`.")
    return Finding("durable commands", "ok", found)


async def agenda(pool: Connections) -> Finding:
    """Look whether somebody takes the runs that are due."""
    ((runs, late),) = await pool.fetch(_AGENDA, (LATE,))
    if late:
        found = f"{late} of {runs} unfinished runs are overdue and nobody has them"
        return Finding("sagas", "broken", found, "Start `tenantctl serve --role sagas`.")
    return Finding("sagas", "ok", f"{runs} unfinished runs, none overdue")


async def read_models(pool: Connections) -> list[Finding]:
    """Compare the read models' positions with the log's end, twice: a projector at work moves."""
    findings: list[Finding] = []
    parked = await parked_streams(pool)
    before = await _positions(pool)
    ((head,),) = await pool.fetch(HEAD, ())
    if any(position < head for position in before.values()):
        await asyncio.sleep(doors.QUICK / 2)
    after = await _positions(pool)
    for name in READ_MODELS:
        what = f"read model {name}"
        stuck = sum(stream.read_model == name for stream in parked)
        if name not in after:
            findings.append(Finding(what, "broken", "missing", "Start `tenantctl serve --role projections`."))
        elif after[name] < head and after[name] == before.get(name):
            found = f"{head - after[name]} events behind, and not moving"
            findings.append(Finding(what, "broken", found, "Start `tenantctl serve --role projections`."))
        elif stuck:
            advice = f"`tenantctl projections status`, then `projections retry {name}`."
            findings.append(Finding(what, "look", f"{stuck} streams are parked", advice))
        else:
            findings.append(Finding(what, "ok", f"at position {after[name]}"))
    return findings


async def _positions(pool: Connections) -> dict[str, int]:
    return {row[0]: row[3] for row in await pool.fetch(LIVE, ())}


async def dead_letters(pool: Connections) -> Finding:
    """Look for messages that were given up."""
    ((letters, unpublished),) = await pool.fetch(_LETTERS, ())
    if letters:
        found = f"{letters} messages were given up, {unpublished} of them not published yet"
        return Finding(
            "dead letters", "look", found, "`tenantctl dead-letters list`; mend and replay, or dismiss."
        )
    return Finding("dead letters", "ok", "none")


async def erasure(pool: Connections) -> Finding:
    """Look whether all bytes of a deleted tenant can be removed."""
    (row,) = await pool.fetch(MEANS.encode(), ())
    missing = Means(*row).missing()
    if missing:
        found = "bytes of deleted tenants stay in the server's files, and certificates say so"
        return Finding("erasure", "look", found, f"As a superuser: {'; '.join(missing)}.")
    return Finding("erasure", "ok", "may remove all bytes of a deleted tenant")
