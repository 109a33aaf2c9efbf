-- Data keys of tenants, wrapped by the master key. A destroyed one stays as a row without its key; a tenant that has
-- such a row gets no key any more.
CREATE TABLE service.tenant_keys (
    key_id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    wrapped bytea,
    created_at timestamptz NOT NULL,
    destroyed_at timestamptz,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);

CREATE INDEX ON service.tenant_keys (tenant_id);
CREATE INDEX ON service.dead_letters (tenant);

-- The next one takes keys as well.
DO $$
DECLARE
    appends regprocedure;
BEGIN
    SELECT p.oid INTO STRICT appends FROM pg_proc p
    WHERE p.pronamespace = 'service'::regnamespace AND p.proname = 'append';
    EXECUTE format('DROP FUNCTION %s', appends);
END $$;
