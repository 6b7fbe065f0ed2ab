DROP INDEX "sessions_user_id";--> statement-breakpoint
CREATE INDEX "sessions_user_id_ended_at" ON "sessions" USING btree ("user_id","ended_at");--> statement-breakpoint
CREATE INDEX "sessions_ended_at" ON "sessions" USING btree ("ended_at") WHERE "sessions"."ended_at" is not null;