-- Exports of the audit trail that a tenant asked for; the service fills in what came of them.
CREATE TABLE {schema}.audit_exports (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    first_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    format text NOT NULL DEFAULT 'jsonl' CHECK (format IN ('jsonl', 'csv')),
    path text,
    finished_at timestamptz,
    CHECK (first_at <= last_at)
);
CREATE INDEX ON {schema}.audit_exports (requested_at);
GRANT SELECT ON {schema}.audit_exports TO {role};
GRANT INSERT (requested_by, first_at, last_at, format) ON {schema}.audit_exports TO {role};
