-- Takes from everybody what a tenant's role must not have in this database. Everybody may still connect: granting
-- that to each role instead costs a look at all roles for each new one, unless the service were a superuser.
REVOKE ALL ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT ON DATABASE {database} TO PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER DATABASE {database} SET statement_timeout = '30s';
ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE {service} IN DATABASE {database} SET statement_timeout = 0;
ALTER ROLE {service} IN DATABASE {database} SET idle_in_transaction_session_timeout = 0;
