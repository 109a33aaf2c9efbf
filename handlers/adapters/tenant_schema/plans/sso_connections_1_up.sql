-- Single sign-on: the identity providers that a tenant's users come from. It refers to no other table, so making
-- and dropping it locks nothing else of the tenant.
CREATE TABLE {schema}.sso_connections (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE,
    protocol text NOT NULL CHECK (protocol IN ('oidc', 'saml')),
    issuer text NOT NULL,
    settings jsonb NOT NULL DEFAULT '{}',
    enabled boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON {schema}.sso_connections (issuer) WHERE enabled;
GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.sso_connections TO {role};
