-- Room in every page for the new version of a row, so that rotations stay HOT updates.
ALTER TABLE "sessions" SET (fillfactor = 70);
--> statement-breakpoint
CREATE FUNCTION "end_sessions_of_disabled_user"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE "sessions" SET "ended_at" = now(), "end_reason" = 'user_disabled'
  WHERE "user_id" = NEW."id" AND "ended_at" IS NULL;
  UPDATE "users" SET "session_epoch" = "session_epoch" + 1 WHERE "id" = NEW."id";
  RETURN NULL;
END $$;
--> statement-breakpoint
CREATE TRIGGER "users_disabled" AFTER UPDATE OF "disabled_at" ON "users" FOR EACH ROW
WHEN (NEW."disabled_at" IS NOT NULL) EXECUTE FUNCTION "end_sessions_of_disabled_user"();
