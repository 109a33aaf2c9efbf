-- The keepers: roles without a login, of which each makes and keeps the roles of a part of the tenants. Whoever makes a role
-- is a member of it, and every backend of a login looks through all that the login is a member of, again after each new
-- role: 13 ms for 30,000. So the service's login makes no tenants' roles: it calls a function that acts as their keeper,
-- in the same transaction as the rest of the step, and is a member of the keepers alone.
DO $keepers$
DECLARE
    body constant text := $body$
BEGIN
    IF role_name !~ '^t_[0-9a-f]{32}$' THEN
        RAISE EXCEPTION 'no tenant''s role is called so' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    CASE deed
        WHEN 'make' THEN
            EXECUTE format('CREATE ROLE %I LOGIN CONNECTION LIMIT %s PASSWORD %L', role_name, connections, verifier);
        WHEN 'open' THEN EXECUTE format('ALTER ROLE %I LOGIN', role_name);
        WHEN 'close' THEN EXECUTE format('ALTER ROLE %I NOLOGIN', role_name);
        WHEN 'restore' THEN
            EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s PASSWORD %L', role_name, connections, verifier);
            EXECUTE format('ALTER ROLE %I RESET ALL', role_name);
            EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET ALL', role_name, current_database());
        WHEN 'lend' THEN EXECUTE format('GRANT %I TO %I WITH INHERIT TRUE, SET FALSE', role_name, session_user);
        WHEN 'take_back' THEN EXECUTE format('REVOKE %I FROM %I', role_name, session_user);
        WHEN 'drop' THEN EXECUTE format('DROP ROLE %I', role_name);
    END CASE;
END $body$;
    form constant text := $form$
        CREATE FUNCTION service.%1$I(deed text, role_name text, connections integer, verifier text)
        RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %2$L$form$;
    service constant text := current_user;
    keeper text;
    named text;
BEGIN
    FOR number IN 0..31 LOOP
        named := 'keeper_' || lpad(number::text, 2, '0');
        keeper := service || '_' || named;
        CONTINUE WHEN EXISTS (
            SELECT FROM pg_proc p WHERE p.pronamespace = 'service'::regnamespace AND p.proname = named AND p.prosrc = body
            AND p.proowner = (SELECT r.oid FROM pg_roles r WHERE r.rolname = keeper));
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = keeper) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN CREATEROLE', keeper);
        END IF;
        IF NOT pg_has_role(keeper, 'SET') THEN
            EXECUTE format('GRANT %I TO CURRENT_USER WITH SET TRUE, INHERIT FALSE', keeper);
        END IF;
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA service TO %I', keeper);
        EXECUTE format('DROP FUNCTION IF EXISTS service.%I', named);
        EXECUTE format('SET LOCAL ROLE %I', keeper);
        EXECUTE format(form, named, body);
        EXECUTE format('REVOKE ALL ON FUNCTION service.%I FROM PUBLIC', named);
        EXECUTE format('GRANT EXECUTE ON FUNCTION service.%I TO %I', named, service);
        SET LOCAL ROLE NONE;
        EXECUTE format('REVOKE CREATE ON SCHEMA service FROM %I', keeper);
    END LOOP;
END $keepers$;
