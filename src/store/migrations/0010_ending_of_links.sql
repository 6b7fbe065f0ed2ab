-- When all sessions of a user end at once, these links die with them. So does a waiting registration of the address.
CREATE FUNCTION "end_links_of_user"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE "links" SET "ended_at" = now(), "password_hash" = NULL, "password_scheme" = NULL
  WHERE "ended_at" IS NULL AND (
    ("user_id" = NEW."id" AND "purpose" IN ('verify', 'reset', 'email'))
    OR ("email" IN (OLD."email", NEW."email") AND "purpose" = 'register')
  );
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER "users_all_sessions_ended" AFTER UPDATE OF "session_epoch" ON "users" FOR EACH ROW
EXECUTE FUNCTION "end_links_of_user"();
--> statement-breakpoint
-- The role that raises the epoch may have another search_path, under which the function would find other tables or none.
DO $$ BEGIN
  EXECUTE format('ALTER FUNCTION "end_links_of_user"() SET search_path = %I, pg_temp', current_schema());
END $$;
