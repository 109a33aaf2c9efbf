-- The one way to write. Columns of arrays: e_ events, r_ reads, l_ ledger, p_ progress, a_ agenda, d_ dead letters, k_ keys;
-- *_group names what stands or falls together; l_upto is how many events the ledger's rows up to this one have.
-- Gives the log's end before this batch, and what was dropped and why.
--
-- The head's row lock comes first and is held to the commit, so each statement below sees all that other writers
-- committed, and nobody can come between a check and its write. It is a lock alone: the row stays as it is, and the head is
-- the log's last event, read in a statement of its own (a look at the end of an index). A rollback uses no position up.
--
-- An event's time is the clock's. Where that is behind an event that is written already, it is the clock's or that of the
-- tenant's last event, whichever is later: times never fall within a tenant, and one wrong clock stays with whom it met.
--
-- What every command needs reads its columns by subscript: unnest puts each value into a store of its own first. That a
-- command is new is what the ledger's key says as it is written; only when it is not, or when a stream has moved on, is the
-- ledger asked.
CREATE OR REPLACE FUNCTION service.append(
    e_tenant uuid[], e_stream uuid[], e_version bigint[], e_topic text[], e_state bytea[], e_group integer[],
    r_stream uuid[], r_version bigint[], r_group integer[],
    l_tenant uuid[], l_command uuid[], l_hash bytea[], l_outcome bytea[], l_completed boolean[], l_upto bigint[],
    l_group integer[],
    p_partition integer[], p_owner uuid[], p_expected bigint[], p_sequence bigint[],
    a_operation uuid[], a_tenant uuid[], a_kind text[], a_due timestamptz[], a_owner uuid[], a_group integer[],
    d_id uuid[], d_tenant text[], d_stream text[], d_sequence bigint[], d_reason text[], d_subject text[],
    d_headers text[], d_body bytea[], d_error text[], d_group integer[],
    k_tenant uuid[], k_key uuid[], k_wrapped bytea[], k_group integer[],
    OUT head bigint, OUT recorded timestamptz, OUT dropped integer[],
    OUT repeated_tenant uuid[], OUT repeated_command uuid[], OUT repeated_hash bytea[], OUT repeated_outcome bytea[],
    OUT repeated_position bigint[]
) LANGUAGE plpgsql
-- Plans are cached for a connection's life and may be made while the tables are empty: only look-ups by key will do.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
DECLARE
    mark timestamptz;
    latest timestamptz;
    behind boolean;
    moved integer[];
    recorded_all boolean := false;
BEGIN
    SELECT l.recorded_at INTO STRICT mark FROM service.event_lock l WHERE l.single FOR NO KEY UPDATE;
    SELECT e.notification_id, e.recorded_at INTO head, latest FROM service.events e ORDER BY e.notification_id DESC LIMIT 1;
    head := coalesce(head, 0);
    recorded := clock_timestamp();
    behind := recorded < greatest(latest, mark);  -- greatest passes over a null: the log may be empty
    IF behind AND latest > mark THEN
        UPDATE service.event_lock l SET recorded_at = latest WHERE l.single;
    END IF;

    IF cardinality(p_partition) > 0 THEN
        -- A takeover locks these rows too, in the same order.
        PERFORM FROM service.command_progress c WHERE c.partition = ANY (p_partition)
        ORDER BY c.partition FOR NO KEY UPDATE;
        PERFORM FROM unnest(p_partition, p_owner, p_expected) p(partition, owner, expected)
        WHERE NOT EXISTS (
            SELECT FROM service.command_progress c
            WHERE c.partition = p.partition AND c.owner = p.owner AND c.sequence = p.expected);
        IF FOUND THEN
            RAISE EXCEPTION 'fenced: another worker owns a partition of this batch' USING ERRCODE = 'TS001';
        END IF;
    END IF;

    IF cardinality(r_stream) > 0 THEN
        SELECT array_agg(r_group[k]) INTO moved
        FROM generate_series(1, cardinality(r_stream)) k
        WHERE r_version[k] <> coalesce((
            SELECT e.originator_version FROM service.events e
            WHERE e.originator_id = r_stream[k] AND e.originator_version >= r_version[k]
            ORDER BY e.originator_version DESC LIMIT 1), 0);
    END IF;

    IF cardinality(l_command) > 0 AND moved IS NULL THEN
        BEGIN
            INSERT INTO service.command_ledger (tenant_id, command_id, hash, outcome, position, decided_at)
            SELECT l_tenant[k], l_command[k], l_hash[k], l_outcome[k],
                CASE WHEN l_completed[k] THEN head + l_upto[k] END, recorded
            FROM generate_series(1, cardinality(l_command)) k;
            recorded_all := true;
        EXCEPTION WHEN unique_violation THEN NULL;  -- nothing of this insert is left
        END;
    END IF;

    dropped := coalesce(moved, '{}');
    IF cardinality(l_command) > 0 AND NOT recorded_all THEN
        SELECT dropped || coalesce(array_agg(l_group[k]), '{}'), array_agg(c.tenant_id), array_agg(c.command_id),
            array_agg(c.hash), array_agg(c.outcome), array_agg(c.position)
        INTO dropped, repeated_tenant, repeated_command, repeated_hash, repeated_outcome, repeated_position
        FROM generate_series(1, cardinality(l_command)) k
        JOIN service.command_ledger c ON c.tenant_id = l_tenant[k] AND c.command_id = l_command[k];
    END IF;

    IF cardinality(dropped) > 0 THEN  -- what is left of every column
        SELECT coalesce(array_agg(t ORDER BY k), '{}'), coalesce(array_agg(s ORDER BY k), '{}'),
            coalesce(array_agg(v ORDER BY k), '{}'), coalesce(array_agg(n ORDER BY k), '{}'),
            coalesce(array_agg(b ORDER BY k), '{}')
        INTO e_tenant, e_stream, e_version, e_topic, e_state
        FROM unnest(e_tenant, e_stream, e_version, e_topic, e_state, e_group)
            WITH ORDINALITY e(t, s, v, n, b, grp, k)
        WHERE e.grp <> ALL (dropped);

        SELECT coalesce(array_agg(t), '{}'), coalesce(array_agg(c), '{}'), coalesce(array_agg(h), '{}'),
            coalesce(array_agg(o), '{}'), coalesce(array_agg(d), '{}'), coalesce(array_agg(u), '{}')
        INTO l_tenant, l_command, l_hash, l_outcome, l_completed, l_upto
        FROM (
            SELECT t, c, h, o, d, sum(n) OVER (ORDER BY k)::bigint
            FROM (
                SELECT *, u - lag(u, 1, 0::bigint) OVER (ORDER BY k)
                FROM unnest(l_tenant, l_command, l_hash, l_outcome, l_completed, l_upto, l_group)
                    WITH ORDINALITY l(t, c, h, o, d, u, grp, k)
            ) counted(t, c, h, o, d, u, grp, k, n)
            WHERE grp <> ALL (dropped)
        ) kept(t, c, h, o, d, u);

        SELECT coalesce(array_agg(o), '{}'), coalesce(array_agg(t), '{}'), coalesce(array_agg(k), '{}'),
            coalesce(array_agg(d), '{}'), coalesce(array_agg(w), '{}')
        INTO a_operation, a_tenant, a_kind, a_due, a_owner
        FROM unnest(a_operation, a_tenant, a_kind, a_due, a_owner, a_group) a(o, t, k, d, w, grp)
        WHERE a.grp <> ALL (dropped);
    END IF;

    IF cardinality(l_command) > 0 AND NOT recorded_all THEN
        INSERT INTO service.command_ledger (tenant_id, command_id, hash, outcome, position, decided_at)
        SELECT l_tenant[k], l_command[k], l_hash[k], l_outcome[k], CASE WHEN l_completed[k] THEN head + l_upto[k] END,
            recorded
        FROM generate_series(1, cardinality(l_command)) k;
    END IF;

    IF cardinality(a_operation) > 0 THEN
        DELETE FROM service.saga_agenda g USING unnest(a_operation, a_due) a(operation, due)
        WHERE g.operation_id = a.operation AND a.due IS NULL;
        UPDATE service.saga_agenda g SET due_at = a.due, owner = CASE WHEN g.owner = a.owner THEN NULL ELSE g.owner END
        FROM unnest(a_operation, a_due, a_owner) a(operation, due, owner)
        WHERE g.operation_id = a.operation AND a.due IS NOT NULL;
        INSERT INTO service.saga_agenda (operation_id, tenant_id, kind, due_at)
        SELECT a.operation, a.tenant, a.kind, a.due
        FROM unnest(a_operation, a_tenant, a_kind, a_due) a(operation, tenant, kind, due)
        WHERE a.due IS NOT NULL ON CONFLICT (operation_id) DO NOTHING;
    END IF;

    IF cardinality(d_id) > 0 THEN
        INSERT INTO service.dead_letters (id, tenant, stream, sequence, reason, subject, headers, body, error, at)
        SELECT d.id, d.tenant, d.stream, d.sequence, d.reason, d.subject, d.headers, d.body, d.error, recorded
        FROM unnest(d_id, d_tenant, d_stream, d_sequence, d_reason, d_subject, d_headers, d_body, d_error, d_group)
            d(id, tenant, stream, sequence, reason, subject, headers, body, error, grp)
        WHERE d.grp <> ALL (dropped)
        ON CONFLICT (id) DO NOTHING;
    END IF;

    IF cardinality(k_key) > 0 THEN
        -- What was sealed for a tenant whose key is destroyed must never be read: its new key is not kept.
        INSERT INTO service.tenant_keys (tenant_id, key_id, wrapped, created_at)
        SELECT k.tenant, k.key, k.wrapped, recorded
        FROM unnest(k_tenant, k_key, k_wrapped, k_group) k(tenant, key, wrapped, grp)
        WHERE k.grp <> ALL (dropped) AND NOT EXISTS (
            SELECT FROM service.tenant_keys o WHERE o.tenant_id = k.tenant AND o.destroyed_at IS NOT NULL)
        ON CONFLICT (key_id) DO NOTHING;
    END IF;

    IF cardinality(p_partition) > 0 AND cardinality(dropped) = 0 THEN
        UPDATE service.command_progress c SET sequence = p.sequence
        FROM unnest(p_partition, p_sequence) p(partition, sequence) WHERE c.partition = p.partition;
    END IF;

    IF cardinality(e_stream) > 0 AND NOT behind THEN
        INSERT INTO service.events
            (originator_id, originator_version, topic, state, notification_id, tenant_id, recorded_at)
        SELECT e_stream[k], e_version[k], e_topic[k], e_state[k], head + k, e_tenant[k], recorded
        FROM generate_series(1, cardinality(e_stream)) k;
    ELSIF cardinality(e_stream) > 0 THEN
        INSERT INTO service.events
            (originator_id, originator_version, topic, state, notification_id, tenant_id, recorded_at)
        SELECT e_stream[k], e_version[k], e_topic[k], e_state[k], head + k, e_tenant[k], greatest(recorded, (
            SELECT o.recorded_at FROM service.events o WHERE o.tenant_id = e_tenant[k]
            ORDER BY o.notification_id DESC LIMIT 1))
        FROM generate_series(1, cardinality(e_stream)) k;
    END IF;
END $$;

-- What follows is the service's alone.

-- What service.append does for one command with one event, which most lone commands are, as long as nothing stands in its
-- way: the same lock and the same checks. Gives the event's position, or null when nothing was written, because the stream has
-- moved on, the ledger has the command, or the clock is behind: service.append sees to all of these. One number costs less
-- than a row of arrays, PostgreSQL as well as its caller.
CREATE OR REPLACE FUNCTION service.append_one(
    e_tenant uuid, e_stream uuid, e_version bigint, e_topic text, e_state bytea,
    l_command uuid, l_hash bytea, l_outcome bytea
) RETURNS bigint LANGUAGE plpgsql
AS $$
DECLARE
    head bigint;
    recorded timestamptz;
    mark timestamptz;
    latest_at timestamptz;
    latest bigint;
BEGIN
    SELECT l.recorded_at INTO STRICT mark FROM service.event_lock l WHERE l.single FOR NO KEY UPDATE;
    SELECT e.notification_id, e.recorded_at INTO head, latest_at FROM service.events e ORDER BY e.notification_id DESC LIMIT 1;
    head := coalesce(head, 0) + 1;
    recorded := clock_timestamp();
    IF recorded >= greatest(latest_at, mark) THEN
        SELECT e.originator_version INTO latest FROM service.events e
        WHERE e.originator_id = e_stream ORDER BY e.originator_version DESC LIMIT 1;

        IF coalesce(latest, 0) = e_version - 1 THEN
            INSERT INTO service.command_ledger (tenant_id, command_id, hash, outcome, position, decided_at)
            VALUES (e_tenant, l_command, l_hash, l_outcome, head, recorded)
            ON CONFLICT (tenant_id, command_id) DO NOTHING;
            IF FOUND THEN
                INSERT INTO service.events
                    (originator_id, originator_version, topic, state, notification_id, tenant_id, recorded_at)
                VALUES (e_stream, e_version, e_topic, e_state, head, e_tenant, recorded);
                RETURN head;
            END IF;
        END IF;
    END IF;
    RETURN NULL;
END $$;

-- The call of workers of an older version, on their way out: service.append says all that they ask for.
CREATE OR REPLACE FUNCTION service.append_command(
    e_tenant uuid, e_stream uuid, e_version bigint, e_topic text, e_state bytea,
    l_command uuid, l_hash bytea, l_outcome bytea, l_group integer,
    OUT head bigint, OUT recorded timestamptz, OUT dropped integer[],
    OUT repeated_tenant uuid[], OUT repeated_command uuid[], OUT repeated_hash bytea[], OUT repeated_outcome bytea[],
    OUT repeated_position bigint[]
) LANGUAGE sql
AS $$
    SELECT * FROM service.append(
        ARRAY[e_tenant], ARRAY[e_stream], ARRAY[e_version], ARRAY[e_topic], ARRAY[e_state], ARRAY[l_group],
        ARRAY[e_stream], ARRAY[e_version - 1], ARRAY[l_group],
        ARRAY[e_tenant], ARRAY[l_command], ARRAY[l_hash], ARRAY[l_outcome], ARRAY[true], ARRAY[1::bigint], ARRAY[l_group],
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',
        '{}', '{}', '{}', '{}');
$$;
