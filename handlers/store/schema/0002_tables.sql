-- What is written together with the log, in the same transactions.

CREATE TABLE service.command_ledger (
    tenant_id uuid NOT NULL,
    command_id uuid NOT NULL,
    hash bytea NOT NULL,
    outcome bytea NOT NULL,
    position bigint,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, command_id)
);

-- Rows are written in the order of decided_at: a block range index costs next to nothing and finds the old ones.
CREATE INDEX ON service.command_ledger USING brin (decided_at) WITH (pages_per_range = 32);

CREATE TABLE service.command_progress (
    partition integer PRIMARY KEY,
    sequence bigint NOT NULL DEFAULT 0,
    owner uuid,
    lease_until timestamptz
) WITH (fillfactor = 50);

CREATE TABLE service.dead_letters (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    stream text NOT NULL,
    sequence bigint NOT NULL,
    reason text NOT NULL,
    subject text NOT NULL,
    headers text NOT NULL,
    body bytea NOT NULL,
    error text NOT NULL,
    at timestamptz NOT NULL,
    published_at timestamptz
);

CREATE INDEX ON service.dead_letters (at, id) WHERE published_at IS NULL;

CREATE TABLE service.saga_agenda (
    operation_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    due_at timestamptz NOT NULL,
    owner uuid
) WITH (fillfactor = 70);

CREATE INDEX ON service.saga_agenda (due_at) WHERE owner IS NULL;
CREATE INDEX ON service.saga_agenda (owner) WHERE owner IS NOT NULL;

CREATE TABLE service.saga_workers (
    owner uuid PRIMARY KEY,
    lease_until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- One state of each long stream. `format` names the code that folded it: another one does not read it.
CREATE TABLE service.snapshots (
    stream_id uuid PRIMARY KEY,
    version bigint NOT NULL,
    format text NOT NULL,
    state bytea NOT NULL
);

CREATE TABLE service.projections (
    name text NOT NULL,
    generation integer NOT NULL,
    position bigint NOT NULL DEFAULT 0,
    live boolean NOT NULL DEFAULT false,
    rows_table text,
    PRIMARY KEY (name, generation)
) WITH (fillfactor = 50);

CREATE UNIQUE INDEX ON service.projections (name) WHERE live;
