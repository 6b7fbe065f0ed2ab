/** With this search path, `now()` is the function below instead of PostgreSQL's own. */
export const searchPath = 'public, pg_catalog'

/** A clock that tests can move. Only the time of the database is faked. */
export const clockSchema = `
  CREATE SCHEMA test_clock;
  CREATE TABLE test_clock.skew AS SELECT interval '0' AS by;
  CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT pg_catalog.now() + by FROM test_clock.skew';
  SET search_path = ${searchPath};
`
