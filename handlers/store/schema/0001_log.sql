-- The log: its head, and its events in one global order.
-- The library's applications get logs of their own from this file and from the append (library.py renames them).

CREATE TABLE service.event_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 10);  -- room on its page: every commit updates the row in place, without touching its index

INSERT INTO service.event_head (position, recorded_at) VALUES (0, '-infinity');

CREATE TABLE service.events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text NOT NULL,
    state bytea NOT NULL,
    notification_id bigint NOT NULL UNIQUE,
    tenant_id uuid NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
);

CREATE INDEX ON service.events (tenant_id, notification_id);
