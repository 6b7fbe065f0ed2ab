-- As before, and now it leaves a trace: whoever disabled the user did so in the database, so there is no address.
CREATE OR REPLACE FUNCTION "end_sessions_of_disabled_user"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  WITH "ended" AS (
    UPDATE "sessions" SET "ended_at" = now(), "end_reason" = 'user_disabled'
    WHERE "user_id" = NEW."id" AND "ended_at" IS NULL
    RETURNING "id"
  )
  INSERT INTO "audit_events" ("event", "reason", "user_id", "session_id")
  SELECT 'session_ended', 'user_disabled', NEW."id", "id" FROM "ended";
  UPDATE "users" SET "session_epoch" = "session_epoch" + 1 WHERE "id" = NEW."id";
  RETURN NULL;
END $$;
