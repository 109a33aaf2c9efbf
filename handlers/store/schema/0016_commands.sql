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

-- Old outcomes and old dead letters are found in the order of their time, from where the last look ended: what was deleted
-- before is not passed again, however much of it is still there. The block ranges of the index that the ledger has on
-- `decided_at` say ever less: what is written into a page that was emptied widens its range, and nothing narrows it.
CREATE INDEX command_ledger_by_time ON service.command_ledger (decided_at);
CREATE INDEX dead_letters_by_publication ON service.dead_letters (published_at) WHERE published_at IS NOT NULL;

-- What an operator did about a dead letter: it was sent again, under the id that its command got then, or it needs nothing
-- any more. By the letter's own id, which it keeps when its stream is made anew.
CREATE TABLE service.dead_letter_handling (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    replayed_at timestamptz,
    replayed_by text,
    replayed_as text,
    dismissed_at timestamptz,
    dismissed_by text
);

-- What a version of the service knows: the names of its commands, and of the facts that it can fold. Each worker says so at
-- its start and while it runs: an older one that meets what it does not know leaves that to the newer.
CREATE TABLE service.registries (
    fingerprint text PRIMARY KEY,
    commands text[] NOT NULL,
    facts text[] NOT NULL,
    seen_at timestamptz NOT NULL
);
