-- What service.append does for one command with one event, which most lone commands are: the same lock, the same checks and
-- the same answer in a third of the time, since arrays and their rows cost more than what is done with them. No settings of
-- its own: there is nothing to choose in these plans, but for what the writer's session forbids.
CREATE FUNCTION service.append_command(
    e_tenant uuid, e_stream uuid, e_version bigint, e_topic text, e_state bytea,
    l_command uuid, l_hash bytea, l_outcome bytea, l_group integer,
    OUT head bigint, OUT recorded timestamptz, OUT dropped integer[],
    OUT repeated_tenant uuid[], OUT repeated_command uuid[], OUT repeated_hash bytea[], OUT repeated_outcome bytea[],
    OUT repeated_position bigint[]
) LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE service.event_head h
    SET position = h.position + 1, recorded_at = greatest(clock_timestamp(), h.recorded_at)
    WHERE h.single
    RETURNING h.position - 1, h.recorded_at INTO STRICT head, recorded;

    INSERT INTO service.command_ledger (tenant_id, command_id, hash, outcome, position, decided_at)
    SELECT e_tenant, l_command, l_hash, l_outcome, head + 1, recorded
    WHERE e_version = 1 + coalesce((
        SELECT e.originator_version FROM service.events e WHERE e.originator_id = e_stream
        ORDER BY e.originator_version DESC LIMIT 1), 0)
    ON CONFLICT (tenant_id, command_id) DO NOTHING;

    IF FOUND THEN
        INSERT INTO service.events
            (originator_id, originator_version, topic, state, notification_id, tenant_id, recorded_at)
        VALUES (e_stream, e_version, e_topic, e_state, head + 1, e_tenant, recorded);
        dropped := '{}';
    ELSE
        UPDATE service.event_head h SET position = head WHERE h.single;
        dropped := ARRAY[l_group];
        SELECT ARRAY[c.tenant_id], ARRAY[c.command_id], ARRAY[c.hash], ARRAY[c.outcome], ARRAY[c.position]
        INTO repeated_tenant, repeated_command, repeated_hash, repeated_outcome, repeated_position
        FROM service.command_ledger c WHERE c.tenant_id = e_tenant AND c.command_id = l_command;
    END IF;
END $$;
