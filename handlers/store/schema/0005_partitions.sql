-- Which worker process reads which partition of TENANT_COMMANDS, and up to where it is decided.

-- `stream` is when the stream was made that `sequence` counts in: one that was lost and made anew counts from 1.
ALTER TABLE service.command_progress DROP COLUMN lease_until;
ALTER TABLE service.command_progress ADD COLUMN stream text;

-- A worker lives while its lease does and its connection stands: a process that is killed is missed at once,
-- one that hangs when its lease ends.
CREATE TABLE service.command_workers (
    owner uuid PRIMARY KEY,
    lease_until timestamptz NOT NULL,
    pid integer NOT NULL,
    backend_start timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Renew the lease of `me`, forget the dead, and take free partitions up to a fair share of all.
-- Rows of command_progress are locked in the order of the append, so the two never wait for each other in a ring.
CREATE FUNCTION service.claim_partitions(
    me uuid, lease interval,
    OUT share integer, OUT partitions integer[], OUT sequences bigint[], OUT streams text[]
) LANGUAGE plpgsql AS $$
DECLARE
    workers integer;
    rank integer;
    total integer;
    held integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('service.claim_partitions', 0));
    INSERT INTO service.command_workers AS w (owner, lease_until, pid, backend_start)
    SELECT me, clock_timestamp() + lease, a.pid, a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()
    ON CONFLICT (owner) DO UPDATE
    SET lease_until = EXCLUDED.lease_until, pid = EXCLUDED.pid, backend_start = EXCLUDED.backend_start;

    -- When the database itself was away, all workers seem dead until they have come back.
    IF pg_postmaster_start_time() < clock_timestamp() - interval '2 seconds' THEN
        DELETE FROM service.command_workers w
        WHERE w.owner <> me AND (w.lease_until < clock_timestamp() OR NOT EXISTS (
            SELECT FROM pg_stat_activity a WHERE a.pid = w.pid AND a.backend_start = w.backend_start));
    END IF;

    SELECT count(*), count(*) FILTER (WHERE w.owner < me) INTO workers, rank FROM service.command_workers w;
    SELECT count(*), count(*) FILTER (WHERE c.owner = me) INTO total, held FROM service.command_progress c;
    share := total / workers + (rank < total % workers)::integer;
    IF held < share THEN
        PERFORM FROM service.command_progress c
        WHERE NOT EXISTS (SELECT FROM service.command_workers w WHERE w.owner = c.owner)
        ORDER BY c.partition FOR NO KEY UPDATE;
        UPDATE service.command_progress c SET owner = me
        WHERE c.partition IN (
            SELECT f.partition FROM service.command_progress f
            WHERE NOT EXISTS (SELECT FROM service.command_workers w WHERE w.owner = f.owner)
            ORDER BY f.partition LIMIT share - held);
    END IF;

    SELECT coalesce(array_agg(c.partition ORDER BY c.partition), '{}'),
        coalesce(array_agg(c.sequence ORDER BY c.partition), '{}'),
        coalesce(array_agg(c.stream ORDER BY c.partition), '{}')
    INTO partitions, sequences, streams
    FROM service.command_progress c WHERE c.owner = me;
END $$;

-- Give partitions back to whoever wants them.
CREATE FUNCTION service.release_partitions(me uuid, released integer[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM service.command_progress c WHERE c.owner = me AND c.partition = ANY (released)
    ORDER BY c.partition FOR NO KEY UPDATE;
    UPDATE service.command_progress c SET owner = NULL WHERE c.owner = me AND c.partition = ANY (released);
END $$;

-- Give all back, and be gone.
CREATE FUNCTION service.leave_partitions(me uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM service.release_partitions(me, ARRAY(SELECT c.partition FROM service.command_progress c WHERE c.owner = me));
    DELETE FROM service.command_workers w WHERE w.owner = me;
END $$;
