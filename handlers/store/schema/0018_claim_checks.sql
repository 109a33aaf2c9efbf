-- What a relay could not send whole, because the servers carry less than it has, or refuse it: in its place stands
-- a claim check that says where the whole is. `outlet` is the stream; a rebuild of the stream begins the list anew.
CREATE TABLE service.claim_checks (
    outlet text,
    position bigint,
    tenant_id uuid NOT NULL,
    bytes bigint NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (outlet, position)
);
