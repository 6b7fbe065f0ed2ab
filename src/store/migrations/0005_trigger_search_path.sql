-- Whoever disables a user may have another search_path, under which the function would find other tables or none.
DO $$ BEGIN
  EXECUTE format('ALTER FUNCTION "end_sessions_of_disabled_user"() SET search_path = %I, pg_temp', current_schema());
END $$;
