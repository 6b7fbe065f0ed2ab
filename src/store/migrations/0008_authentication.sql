ALTER TABLE "sessions" ADD COLUMN "authenticated_at" timestamp with time zone DEFAULT now() NOT NULL;--> statement-breakpoint
ALTER TABLE "sessions" ADD COLUMN "amr" text[] DEFAULT '{"pwd"}' NOT NULL;--> statement-breakpoint
-- All sessions so far began with a password, and nobody has proved their identity again since.
UPDATE "sessions" SET "authenticated_at" = "created_at";
