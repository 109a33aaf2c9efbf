-- Which message a partition's sequence stands for. A stream that is put back to an earlier state counts on under the numbers
-- that it had given before, with other messages: what the last decided one was tells the two apart. `mark_stored_at` is when
-- TENANT_COMMANDS stored the message at `mark_sequence` (nanoseconds since 1970, as the server has it). The mark says nothing
-- where it is not of `sequence`: a worker of a former version has moved that.
ALTER TABLE service.command_progress ADD COLUMN mark_sequence bigint, ADD COLUMN mark_stored_at bigint;

-- Called with service.append in one statement, behind it: the marks of the partitions that it has moved, unless it dropped
-- something and so moved none.
CREATE FUNCTION service.mark_progress(
    dropped integer[], m_partition integer[], m_sequence bigint[], m_stored_at bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(dropped) = 0 THEN
        UPDATE service.command_progress c SET mark_sequence = m.sequence, mark_stored_at = nullif(m.stored_at, 0)
        FROM unnest(m_partition, m_sequence, m_stored_at) m(partition, sequence, stored_at)
        WHERE c.partition = m.partition;
    END IF;
END $$;
