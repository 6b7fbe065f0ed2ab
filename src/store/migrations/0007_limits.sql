ALTER TABLE "attempts" ADD COLUMN "throttled" boolean DEFAULT false NOT NULL;--> statement-breakpoint
CREATE INDEX "users_hash_cost" ON "users" USING btree (substring("password_hash" FROM 5 FOR 2));