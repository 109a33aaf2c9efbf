-- What service.append does for one command with one event, which most lone commands are, as long as nothing stands in its
-- way: the same lock and the same checks. Gives the event's position, or null when nothing was written, because the stream has
-- moved on or the ledger has the command: which of them, service.append will say. One number costs less than a row of arrays,
-- PostgreSQL as well as its caller. service.append_command, which gave such a row, stays for workers that run already.
CREATE FUNCTION service.append_one(
    e_tenant uuid, e_stream uuid, e_version bigint, e_topic text, e_state bytea,
    l_command uuid, l_hash bytea, l_outcome bytea
) RETURNS bigint LANGUAGE plpgsql
AS $$
DECLARE
    head bigint;
    recorded timestamptz;
    latest bigint;
BEGIN
    UPDATE service.event_head h
    SET position = h.position + 1, recorded_at = greatest(clock_timestamp(), h.recorded_at)
    WHERE h.single
    RETURNING h.position, h.recorded_at INTO STRICT head, recorded;

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

    UPDATE service.event_head h SET position = head - 1 WHERE h.single;
    RETURN NULL;
END $$;
