ALTER TABLE "control" ADD COLUMN "key_check" jsonb;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "expires_in_sec" double precision;