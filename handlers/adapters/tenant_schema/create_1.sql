-- A tenant's schema and the grants of its role, both called {tenant}, version 1. The role is made before.
-- It owns nothing and is granted only what stands here. It finds its schema by the default search_path.
CREATE SCHEMA {tenant};
CREATE TABLE {tenant}.schema_version (
    version integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE {tenant}.users (
    id uuid PRIMARY KEY,
    user_id text,
    email text,
    name text,
    role text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE {tenant}.settings (
    key text PRIMARY KEY,
    value jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE {tenant}.usage (
    resource text,
    period_start date,
    used bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (resource, period_start)
);
CREATE TABLE {tenant}.files (
    path text PRIMARY KEY,
    size bigint NOT NULL,
    media_type text NOT NULL,
    sha256 bytea NOT NULL,
    created_by text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE {tenant}.audit (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    at timestamptz NOT NULL DEFAULT now(),
    actor text,
    action text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
INSERT INTO {tenant}.schema_version (version) VALUES (1);
GRANT USAGE ON SCHEMA {tenant} TO {tenant};
GRANT SELECT ON {tenant}.schema_version, {tenant}.settings, {tenant}.usage TO {tenant};
GRANT SELECT, INSERT, UPDATE, DELETE ON {tenant}.users, {tenant}.files TO {tenant};
GRANT SELECT, INSERT ON {tenant}.audit TO {tenant};
INSERT INTO service.tenant_roles (tenant_id, operation_id, schema_oid, role_oid, role_xid)
VALUES (substr('{tenant}', 3)::uuid, '{operation}', '{tenant}'::regnamespace, '{tenant}'::regrole, pg_current_xact_id()::xid);
