-- What only a superuser can close, in the service's database: {service} is the service's role, {database} the database.
-- The embedded server runs it at its start; who runs PostgreSQL himself runs it once, and after an upgrade. Again changes
-- nothing.

-- To see and to end tenants' sessions, to connect when they have taken all connections but the reserved ones, to have the
-- write-ahead log begin anew, and to see which roles were changed.
GRANT pg_read_all_stats, pg_signal_backend, pg_use_reserved_connections, pg_checkpoint TO {service};
GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {service};
GRANT MAINTAIN ON pg_catalog.pg_statistic, pg_catalog.pg_largeobject TO {service};
GRANT SELECT (rolname, xmin) ON pg_catalog.pg_authid TO {service};

-- Large objects have no limit, each takes a lock to be dropped, and their bytes stay in a table of all tenants. Sizes and
-- statistics tell of others. Locks and prepared transactions do, too. Advisory locks are everybody's: a tenant could hold those
-- that another one waits for, and so many that the server has no room for anybody's.
DO $$
DECLARE
    closed record;
BEGIN
    FOR closed IN
        SELECT p.oid::regprocedure AS name FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace
        AND (p.proname ~ '^(lo_|loread$|lowrite$|pg_(try_)?advisory_|pg_stat_get_|pg_stat_have_|pg_ls_|pg_current_wal_|pg_last_)'
            OR p.proname IN ('pg_relation_size', 'pg_total_relation_size', 'pg_table_size', 'pg_indexes_size',
                'pg_database_size', 'pg_tablespace_size', 'pg_relation_filenode', 'pg_relation_filepath',
                'pg_filenode_relation', 'pg_lock_status', 'pg_prepared_xact', 'pg_blocking_pids',
                'pg_safe_snapshot_blocking_pids', 'pg_isolation_test_session_is_blocked'))
        AND p.prorettype <> 'trigger'::regtype
        AND (has_function_privilege('public', p.oid, 'EXECUTE')
            OR NOT has_function_privilege('{service}'::regrole::oid, p.oid, 'EXECUTE'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', closed.name);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {service}, pg_monitor', closed.name);
    END LOOP;
    FOR closed IN
        SELECT c.oid::regclass AS name FROM pg_class c
        WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v')
        AND (c.relname ~ '^(pg_stat_|pg_statio_|pg_stats)'
            OR c.relname IN ('pg_locks', 'pg_prepared_xacts', 'pg_auth_members', 'pg_db_role_setting', 'pg_shdepend',
                'pg_shdescription', 'pg_shseclabel', 'pg_largeobject_metadata', 'pg_group'))
        AND (has_table_privilege('public', c.oid, 'SELECT')
            OR NOT has_table_privilege('{service}'::regrole::oid, c.oid, 'SELECT'))
    LOOP
        EXECUTE format('REVOKE SELECT ON pg_catalog.%s FROM PUBLIC', closed.name);
        EXECUTE format('GRANT SELECT ON pg_catalog.%s TO {service}, pg_monitor', closed.name);
    END LOOP;
END $$;

-- A tenant's role has nothing to do in the databases that every server has: what it made there would keep it from going.
DO $$
DECLARE
    other record;
BEGIN
    FOR other IN SELECT datname AS name FROM pg_database WHERE datname IN ('postgres', 'template1') LOOP
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', other.name);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO {service}', other.name);
    END LOOP;
END $$;

-- How many rows and pages others' tables have. (pg_dump asks for that: a tenant's role cannot run it.)
DO $$
DECLARE
    others text := (SELECT string_agg(quote_ident(a.attname), ', ') FROM pg_attribute a
        WHERE a.attrelid = 'pg_catalog.pg_class'::regclass AND NOT a.attisdropped
        AND a.attname NOT IN ('relpages', 'reltuples', 'relallvisible', 'relallfrozen', 'cmin', 'cmax', 'xmin', 'xmax'));
BEGIN
    IF has_table_privilege('public', 'pg_catalog.pg_class', 'SELECT')
        OR NOT has_table_privilege('{service}'::regrole::oid, 'pg_catalog.pg_class', 'SELECT') THEN
        REVOKE SELECT ON pg_catalog.pg_class FROM PUBLIC;
        EXECUTE format('GRANT SELECT (%s) ON pg_catalog.pg_class TO PUBLIC', others);
        GRANT SELECT ON pg_catalog.pg_class TO {service}, pg_monitor;
    END IF;
END $$;

-- What a tenant's sessions write to the server's log, and may put into its temporary files. None of it can be set by them.
ALTER DATABASE {database} SET log_min_messages = 'fatal';
ALTER DATABASE {database} SET log_error_verbosity = 'terse';
ALTER DATABASE {database} SET log_min_error_statement = 'panic';
ALTER DATABASE {database} SET log_min_duration_statement = -1;
ALTER DATABASE {database} SET log_statement = 'none';
ALTER DATABASE {database} SET temp_file_limit = '1GB';
ALTER ROLE {service} IN DATABASE {database} SET log_min_messages = 'warning';
ALTER ROLE {service} IN DATABASE {database} SET temp_file_limit = -1;

-- The keepers of tenants' roles (keepers.sql), and roles that the service made by itself before there were any: it need not
-- be a member of those.
DO $$
DECLARE
    keeper text;
    tenant record;
BEGIN
    FOR number IN 0..31 LOOP
        keeper := format('%s_keeper_%s', '{service}'::regrole::text, lpad(number::text, 2, '0'));
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = keeper) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN CREATEROLE', keeper);
            EXECUTE format('GRANT %I TO {service} WITH ADMIN TRUE, INHERIT FALSE, SET TRUE', keeper);
        END IF;
    END LOOP;
    FOR tenant IN
        SELECT DISTINCT r.rolname AS name FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        WHERE m.member = '{service}'::regrole AND r.rolname ~ '^t_[0-9a-f]{32}$'
    LOOP
        keeper := format('%s_keeper_%s', '{service}'::regrole::text,
            lpad((('x' || right(tenant.name, 2))::bit(8)::integer % 32)::text, 2, '0'));
        EXECUTE format('GRANT %I TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE', tenant.name, keeper);
        EXECUTE format('REVOKE %I FROM {service} CASCADE', tenant.name);
    END LOOP;
END $$;
