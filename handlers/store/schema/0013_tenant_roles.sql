-- What the service made for a tenant in this database: by which operation, and which numbers its schema and its role got.
-- The row is written in the transaction that makes them, so it proves what is whose. `role_xid` is the transaction in which the
-- service changed the role last: another one's number on the role means that the tenant has changed it.
CREATE TABLE service.tenant_roles (
    tenant_id uuid PRIMARY KEY,
    operation_id uuid,
    schema_oid oid NOT NULL,
    role_oid oid NOT NULL,
    role_xid xid NOT NULL
);

-- Rows to lock, where one process at a time may do something. Advisory locks are anybody's, also a tenant's.
CREATE TABLE service.turns (name text PRIMARY KEY);
INSERT INTO service.turns (name) VALUES ('prepare');

-- Do something to a tenant's role, as the keeper of that role (tenant_schema/keepers.sql). Roles made before there were keepers
-- are the service's own: it lets the keeper have a hand in them first.
CREATE FUNCTION service.keep_role(
    deed text, role_name text, connections integer DEFAULT NULL, verifier text DEFAULT NULL
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    number text := lpad((('x' || right(role_name, 2))::bit(8)::integer % 32)::text, 2, '0');
    keeper text := (SELECT p.proowner::regrole::text FROM pg_proc p
        WHERE p.pronamespace = 'service'::regnamespace AND p.proname = 'keeper_' || number);
BEGIN
    IF deed <> 'make' AND NOT EXISTS (
        SELECT FROM pg_auth_members m
        WHERE m.roleid = role_name::regrole AND m.member = keeper::regrole AND m.admin_option
    ) THEN
        EXECUTE format('GRANT %I TO %s WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', role_name, keeper);
    END IF;
    EXECUTE format('SELECT service.%I($1, $2, $3, $4)', 'keeper_' || number)
    USING deed, role_name, connections, verifier;
    IF deed IN ('open', 'close', 'restore') THEN
        UPDATE service.tenant_roles r SET role_xid = pg_current_xact_id()::xid
        WHERE r.tenant_id = substr(role_name, 3)::uuid;
    END IF;
END $$;
