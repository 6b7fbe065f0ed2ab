ALTER TABLE "audit_events" ADD COLUMN "secret" text;--> statement-breakpoint
ALTER TABLE "audit_events" ADD COLUMN "kid" text;--> statement-breakpoint
ALTER TABLE "audit_events" ADD COLUMN "source" text;