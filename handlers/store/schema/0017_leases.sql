-- Leases without a clock: the server's may jump. Who holds one lives while its connection stands, and while others
-- see its lease_until move; a time that does not move for the length of a lease, by a watcher's own monotonic clock,
-- is a dead holder's, whatever it says. See decision 0029.
ALTER TABLE service.saga_workers ADD COLUMN pid integer, ADD COLUMN backend_start timestamptz;

-- One row, whose lock lets one worker share out at a time. An advisory lock could be taken by any role.
CREATE TABLE service.partition_shares (one boolean PRIMARY KEY DEFAULT true CHECK (one));
INSERT INTO service.partition_shares DEFAULT VALUES;

-- Take what is free up to a fair share; `dead` were seen to stand still at `dead_until`. Returns the leases of the
-- others too, for the caller to watch.
CREATE FUNCTION service.claim_partitions(
    me uuid, lease interval, dead uuid[], dead_until timestamptz[],
    OUT share integer, OUT partitions integer[], OUT sequences bigint[], OUT streams text[],
    OUT others uuid[], OUT others_until timestamptz[]
) LANGUAGE plpgsql AS $$
DECLARE
    workers integer;
    rank integer;
    total integer;
    held integer;
    started timestamptz := pg_postmaster_start_time();
BEGIN
    PERFORM FROM service.partition_shares FOR UPDATE;
    INSERT INTO service.command_workers AS w (owner, lease_until, pid, backend_start)
    SELECT me, clock_timestamp() + lease, a.pid, a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()
    ON CONFLICT (owner) DO UPDATE
    SET lease_until = EXCLUDED.lease_until, pid = EXCLUDED.pid, backend_start = EXCLUDED.backend_start;

    DELETE FROM service.command_workers w
    WHERE w.owner <> me AND (w.owner, w.lease_until) IN (SELECT * FROM unnest(dead, dead_until));
    -- When the database itself was away, all workers seem dead until they have come back.
    IF clock_timestamp() NOT BETWEEN started AND started + interval '2 seconds' THEN
        DELETE FROM service.command_workers w
        WHERE w.owner <> me AND NOT EXISTS (
            SELECT FROM pg_stat_activity a WHERE a.pid = w.pid AND a.backend_start = w.backend_start);
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
    SELECT coalesce(array_agg(w.owner ORDER BY w.owner), '{}'),
        coalesce(array_agg(w.lease_until ORDER BY w.owner), '{}')
    INTO others, others_until
    FROM service.command_workers w WHERE w.owner <> me;
END $$;

-- As workers of the version before call it, who watch nobody.
CREATE OR REPLACE FUNCTION service.claim_partitions(
    me uuid, lease interval,
    OUT share integer, OUT partitions integer[], OUT sequences bigint[], OUT streams text[]
) LANGUAGE sql AS $$
    SELECT share, partitions, sequences, streams
    FROM service.claim_partitions(me, lease, '{}'::uuid[], '{}'::timestamptz[]);
$$;
