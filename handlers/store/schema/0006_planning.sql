-- The sessions that append have these settings themselves (handlers/store/appending.py): setting and resetting them at
-- each call took a third of the time of a small append.
DO $$
DECLARE
    appends regprocedure;
BEGIN
    SELECT p.oid INTO STRICT appends FROM pg_proc p
    WHERE p.pronamespace = 'service'::regnamespace AND p.proname = 'append';
    EXECUTE format('ALTER FUNCTION %s RESET ALL', appends);
END $$;
