"""The store's reading statements. Every look-up is by key or in the order of an index."""

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of bodies after which a read of events ends, with the one that reaches them: a reader holds so much
and one event more, however large those of one tenant are."""


def _bounded(where: str) -> bytes:
    """Return the statement that reads events in order, up to a limit, and up to `MOST_BYTES`: one at least.

    How large a body is stands beside it: none is fetched that is not returned.
    """
    columns = "notification_id, tenant_id, originator_id, originator_version, topic, state, recorded_at"
    return (
        f"SELECT {columns} FROM ("  # noqa: S608
        f"SELECT {columns}, coalesce(sum(octet_length(state)) OVER (ORDER BY notification_id"
        " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before"
        f" FROM service.events WHERE {where} ORDER BY notification_id LIMIT %s"
        f") e WHERE before < {MOST_BYTES} ORDER BY notification_id"
    ).encode()


READ = _bounded("notification_id > %s")

READ_TENANT = _bounded(
    "tenant_id = %s AND notification_id > %s AND notification_id <= %s AND (%s = '{}' OR topic = ANY (%s))"
)

LATEST = b"""
SELECT tenant_id, max(originator_version), max(notification_id), max(recorded_at)
FROM service.events
WHERE notification_id > %s AND notification_id <= %s AND originator_id = tenant_id AND topic = ANY (%s)
GROUP BY tenant_id ORDER BY 3"""

TENANTS_BORN = b"""
SELECT count(*) FROM service.events
WHERE originator_version = 1 AND originator_id = tenant_id AND notification_id <= %s"""

LOAD = b"""
WITH asked AS (
    SELECT a.stream, n.version, n.state
    FROM unnest(%s, %s) a(stream, format)
    LEFT JOIN LATERAL (
        SELECT s.version, s.state FROM service.snapshots s
        WHERE s.stream_id = a.stream AND s.format = a.format OFFSET 0
    ) n ON true
)
SELECT stream, version, NULL::text, state FROM asked WHERE version IS NOT NULL
UNION ALL
SELECT a.stream, e.originator_version, e.topic, e.state
FROM asked a CROSS JOIN LATERAL (
    SELECT o.originator_version, o.topic, o.state FROM service.events o
    WHERE o.originator_id = a.stream AND o.originator_version > coalesce(a.version, 0)
    ORDER BY o.originator_version
) e
ORDER BY 1, 2"""

LOAD_WITH_KEYS = (
    b"""
SELECT a.stream, a.version, a.topic, a.state, a.key FROM (
    SELECT l.*, NULL::uuid, NULL::timestamptz FROM (%b) l
    UNION ALL
    SELECT k.tenant_id, -1, NULL, k.wrapped, k.key_id, k.created_at FROM service.tenant_keys k
    WHERE k.tenant_id = ANY (%%s)
) a(stream, version, topic, state, key, made)
ORDER BY a.stream, a.version, a.made, a.key"""
    % LOAD
)
"""The streams, and before those of each tenant's id its keys, oldest first."""

RECORDED = b"""
SELECT l.tenant_id, l.command_id, l.hash, l.outcome, l.position
FROM unnest(%s, %s) k(tenant, command)
CROSS JOIN LATERAL (
    SELECT * FROM service.command_ledger c WHERE c.tenant_id = k.tenant AND c.command_id = k.command OFFSET 0
) l"""

HEAD = b"SELECT position FROM service.event_head WHERE single"

CLOCK_BEHIND = b"""
SELECT greatest(0, extract(epoch FROM greatest(h.recorded_at, e.recorded_at))::float8
    - extract(epoch FROM clock_timestamp())::float8)
FROM service.event_head h LEFT JOIN (
    SELECT o.recorded_at FROM service.events o ORDER BY o.notification_id DESC LIMIT 1
) e ON true"""

SAVE_SNAPSHOTS = b"""
INSERT INTO service.snapshots AS s (stream_id, version, format, state)
SELECT * FROM unnest(%s, %s, %s, %s)
ON CONFLICT (stream_id) DO UPDATE
SET version = EXCLUDED.version, format = EXCLUDED.format, state = EXCLUDED.state
WHERE s.version < EXCLUDED.version OR s.format <> EXCLUDED.format
RETURNING stream_id"""
