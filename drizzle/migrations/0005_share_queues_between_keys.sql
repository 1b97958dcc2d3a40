DROP INDEX "jobs_claimable";--> statement-breakpoint
CREATE INDEX "jobs_by_end" ON "jobs" USING btree ("ended_at") WHERE ended_at is not null;--> statement-breakpoint
CREATE INDEX "jobs_claimable" ON "jobs" USING btree ("queue_id","priority" DESC NULLS FIRST,"key_id","created_at","id") WHERE status = 'waiting';