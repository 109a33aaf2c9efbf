DROP TABLE {schema}.audit_exports;
