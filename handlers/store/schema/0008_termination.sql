-- What a termination leaves on its way: the export that is handed over, and the certificate that stays.

-- The export of a tenant's data. It is whole once `manifest_sha256` is there.
CREATE TABLE service.exports (
    operation_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    parts bigint,
    size bigint,
    manifest_sha256 text,
    written_at timestamptz,
    handed_over jsonb NOT NULL DEFAULT '[]'
);

CREATE INDEX ON service.exports (tenant_id);

-- A part that is written. `part` is the SHA-256 of its path: names of files may be personal, and stay out of here.
CREATE TABLE service.export_parts (
    operation_id uuid REFERENCES service.exports ON DELETE CASCADE,
    part bytea,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    fetched_at timestamptz,
    PRIMARY KEY (operation_id, part)
);

-- Certificates of deletion, byte for byte as they were signed. Nothing deletes them.
CREATE TABLE service.certificates (
    operation_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    certificate_id uuid NOT NULL,
    document bytea NOT NULL,
    sha256 text NOT NULL,
    issued_at timestamptz NOT NULL
);

CREATE INDEX ON service.certificates (tenant_id);
