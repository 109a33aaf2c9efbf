DROP TABLE {schema}.sso_connections;
