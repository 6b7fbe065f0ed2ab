-- Makes a database, the role that owns its tables, and the role that serves. Run it once with psql, as a superuser.
-- compose.yaml does so at its first start. Then `npm run migrate -- --grant auth` grants the rights on the tables.
-- These two files must contain the passwords.
\set ON_ERROR_STOP on
\set owner_password `cat /run/secrets/owner_password`
\set auth_password `cat /run/secrets/auth_password`

-- psql reads a missing file as an empty one.
SELECT '' IN (:'owner_password', :'auth_password') AS is_missing \gset
\if :is_missing
DO $$ BEGIN
  RAISE 'A password file is missing or empty. Write both files that roles.sql names, and run it again.';
END $$;
\endif

CREATE ROLE auth_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE auth LOGIN PASSWORD :'auth_password';
CREATE DATABASE auth OWNER auth_owner;
REVOKE ALL ON DATABASE auth FROM PUBLIC;
GRANT CONNECT ON DATABASE auth TO auth;

\connect auth
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER SCHEMA public OWNER TO auth_owner;
