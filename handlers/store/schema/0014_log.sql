-- The log's head: a lock that orders all writers, and a view of what stands at the log's end.
--
-- No commit makes a new version of the lock's row. A row that each commit updates leaves versions behind that nobody may
-- remove as long as any session of the server holds an older snapshot, and each commit walks through all of them.
--
-- `recorded_at` is a mark that the clock left behind: the latest time of any event when it was seen to go back. It is
-- written then, and else stays as it is; whoever appends before it looks up when each tenant was last.
CREATE TABLE service.event_lock (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    recorded_at timestamptz NOT NULL DEFAULT '-infinity'
);

INSERT INTO service.event_lock DEFAULT VALUES;

DROP TABLE service.event_head;

CREATE VIEW service.event_head AS
SELECT l.single,
    coalesce((SELECT e.notification_id FROM service.events e ORDER BY e.notification_id DESC LIMIT 1), 0) AS position,
    l.recorded_at
FROM service.event_lock l;

-- What follows is the service's alone.

-- The index goes on under the head's name: operators' queries of its size know it.
ALTER INDEX service.event_lock_pkey RENAME TO event_head_pkey;

-- Which log this is: streams that are made from it carry the id, and are not filled from another. It goes along with every
-- copy of the database. `master_key` is a check value of the key that wraps tenants' keys, told by the first process that has it.
CREATE TABLE service.log_identity (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    master_key bytea
);

INSERT INTO service.log_identity DEFAULT VALUES;
