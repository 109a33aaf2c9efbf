-- What stands in a schema, from the catalogs: one row for each thing, with the table that it belongs to ('' for
-- none). It tells nothing of rows, nor of when or in which order things were made.
WITH home AS (SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname = %(schema)s),
relations AS (SELECT c.* FROM pg_class c JOIN home ON c.relnamespace = home.oid WHERE relkind NOT IN ('i', 'I')),
things (relation, thing) AS (
    SELECT '', format('schema of %%s', nspowner::regrole) FROM home
    UNION ALL
    SELECT '', format('grant %%s on the schema to %%s', privilege_type, nullif(grantee, 0)::regrole)
    FROM home, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
    UNION ALL
    SELECT relname, format('relation %%s %%s of %%s, security %%s %%s, %%s', relkind, relpersistence,
        relowner::regrole, relrowsecurity, relforcerowsecurity, obj_description(oid, 'pg_class'))
    FROM relations
    UNION ALL
    SELECT relname, format('grant %%s to %%s', privilege_type, nullif(grantee, 0)::regrole)
    FROM relations, aclexplode(coalesce(relacl, acldefault('r', relowner)))
    UNION ALL
    SELECT relname, format('column %%s %%s %%s%%s%%s%%s', row_number() OVER (PARTITION BY relname ORDER BY attnum),
        attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN ' not null' END,
        ' default ' || pg_get_expr(adbin, adrelid), ' identity ' || nullif(attidentity::text, ''))
    FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid LEFT JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum)
    WHERE attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT relname, format('grant %%s (%%s) to %%s', privilege_type, attname, nullif(grantee, 0)::regrole)
    FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid, aclexplode(attacl)
    UNION ALL
    SELECT relname, format('constraint %%s %%s', conname, pg_get_constraintdef(k.oid))
    FROM relations r JOIN pg_constraint k ON k.conrelid = r.oid
    UNION ALL
    SELECT relname, pg_get_indexdef(indexrelid) FROM relations r JOIN pg_index i ON i.indrelid = r.oid
    UNION ALL
    SELECT relname, pg_get_triggerdef(t.oid) FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid
    WHERE NOT tgisinternal
    UNION ALL
    SELECT relname, format('policy %%s %%s %%s %%s', polname, polcmd::text, pg_get_expr(polqual, polrelid),
        pg_get_expr(polwithcheck, polrelid))
    FROM relations r JOIN pg_policy p ON p.polrelid = r.oid
    UNION ALL
    SELECT '', pg_get_functiondef(p.oid) FROM pg_proc p JOIN home ON p.pronamespace = home.oid WHERE prokind IN ('f', 'p')
)
SELECT relation, thing FROM things ORDER BY relation COLLATE "C", thing COLLATE "C"
