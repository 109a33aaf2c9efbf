-- Undoes any version of a tenant's schema; what is not there is passed over.
-- Large objects are all that a tenant's role can come to own; to drop them one must belong to it.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{tenant}') THEN
        GRANT {tenant} TO CURRENT_USER WITH INHERIT TRUE;
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{tenant}';
        DROP OWNED BY {tenant};
    END IF;
END $$;
DROP SCHEMA IF EXISTS {tenant} CASCADE;
DROP ROLE IF EXISTS {tenant};
