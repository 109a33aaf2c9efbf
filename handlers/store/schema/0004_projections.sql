-- How the projector writes. `revision` is that of the code that made the table; `epoch` moves when somebody else
-- than a projector changed rows, so that what a projector remembers of them is known to be old.
ALTER TABLE service.projections DROP COLUMN rows_table;
ALTER TABLE service.projections ADD COLUMN revision integer NOT NULL DEFAULT 0, ADD COLUMN epoch bigint NOT NULL DEFAULT 0;

-- Streams that a read model cannot go on with: the event at which it stopped, and why.
CREATE TABLE service.projection_parked (
    name text NOT NULL,
    generation integer NOT NULL,
    stream_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    position bigint NOT NULL,
    version bigint NOT NULL,
    topic text NOT NULL,
    error text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, generation, stream_id)
);

-- Moves read models on by compare-and-set; refuses all of it when one of them is not where it was expected.
-- The commit need not reach the disk: rows and position are lost together, and then made again.
CREATE FUNCTION service.project(
    p_name text[], p_generation integer[], p_epoch bigint[], p_expected bigint[], p_position bigint[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    moved integer;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM FROM service.projections m JOIN unnest(p_name, p_generation) p(name, generation) USING (name, generation)
    ORDER BY m.name, m.generation FOR NO KEY UPDATE OF m;
    UPDATE service.projections m SET position = p.position
    FROM unnest(p_name, p_generation, p_epoch, p_expected, p_position) p(name, generation, epoch, expected, position)
    WHERE m.name = p.name AND m.generation = p.generation AND m.epoch = p.epoch AND m.position = p.expected;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> cardinality(p_name) THEN
        RAISE EXCEPTION 'fenced: a read model is not where it was expected' USING ERRCODE = 'TS002';
    END IF;
END $$;
