-- The roles and databases of an installation, for psql and the server's master user. It may run again at any time: it makes what is
-- missing, and sets the passwords to those of the secrets.
\set ON_ERROR_STOP on
\getenv ledger_password LEDGER_PASSWORD
\getenv dagster_password DAGSTER_PASSWORD

-- One at a time, where two tasks start together.
SELECT pg_advisory_lock(7302);

SELECT 'CREATE ROLE dlcs' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dlcs') \gexec
SELECT 'CREATE ROLE dagster' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'dagster') \gexec
ALTER ROLE dlcs WITH LOGIN PASSWORD :'ledger_password';
ALTER ROLE dagster WITH LOGIN PASSWORD :'dagster_password';

-- Only a member of a role may make a database that the role owns.
GRANT dlcs, dagster TO CURRENT_USER;
SELECT 'CREATE DATABASE ledger OWNER dlcs' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'ledger') \gexec
SELECT 'CREATE DATABASE dagster OWNER dagster' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'dagster') \gexec

-- Each role sees its own database only.
REVOKE ALL ON DATABASE ledger FROM PUBLIC;
REVOKE ALL ON DATABASE dagster FROM PUBLIC;
