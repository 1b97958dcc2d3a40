CREATE TABLE "job_attempts" (
	"job_id" uuid NOT NULL,
	"fence" bigint NOT NULL,
	"attempt" integer NOT NULL,
	"outcome" text NOT NULL,
	"error" text,
	"agent_id" uuid,
	"ended_at" timestamp with time zone NOT NULL,
	CONSTRAINT "job_attempts_job_id_fence_pk" PRIMARY KEY("job_id","fence")
);
--> statement-breakpoint
CREATE TABLE "job_parts" (
	"job_id" uuid NOT NULL,
	"part_id" uuid NOT NULL,
	CONSTRAINT "job_parts_job_id_part_id_pk" PRIMARY KEY("job_id","part_id")
);
--> statement-breakpoint
CREATE TABLE "maintenance_jobs" (
	"id" uuid PRIMARY KEY NOT NULL,
	"params" jsonb NOT NULL,
	"progress" jsonb,
	"progress_fence" bigint,
	"brought" jsonb
);
--> statement-breakpoint
ALTER TABLE "queues" DROP CONSTRAINT "queues_need";--> statement-breakpoint
ALTER TABLE "queues" ALTER COLUMN "executor_id" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "agents" ADD COLUMN "stock" jsonb;--> statement-breakpoint
ALTER TABLE "queues" ADD COLUMN "agent_id" uuid;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "target_agent_id" uuid;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "need_key" text;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "preferred_agent_id" uuid;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "preferred_until" timestamp with time zone;--> statement-breakpoint
ALTER TABLE "jobs" ADD COLUMN "times_locked" integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "job_attempts" ADD CONSTRAINT "job_attempts_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_parts" ADD CONSTRAINT "job_parts_job_id_jobs_id_fk" FOREIGN KEY ("job_id") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "job_parts" ADD CONSTRAINT "job_parts_part_id_jobs_id_fk" FOREIGN KEY ("part_id") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "maintenance_jobs" ADD CONSTRAINT "maintenance_jobs_id_jobs_id_fk" FOREIGN KEY ("id") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "job_parts_part" ON "job_parts" USING btree ("part_id");--> statement-breakpoint
ALTER TABLE "queues" ADD CONSTRAINT "queues_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "jobs_locked" ON "jobs" USING btree ("locked_by") WHERE status = 'locked';--> statement-breakpoint
CREATE UNIQUE INDEX "jobs_one_maintenance" ON "jobs" USING btree ("target_agent_id","need_key") WHERE target_agent_id is not null and outcome is null;--> statement-breakpoint
CREATE INDEX "jobs_maintenance_by_age" ON "jobs" USING btree ("created_at","id") WHERE type <> 'code.execute';--> statement-breakpoint
ALTER TABLE "queues" ADD CONSTRAINT "queues_need" UNIQUE NULLS NOT DISTINCT("executor_id","labels","agent_id");--> statement-breakpoint
ALTER TABLE "queues" ADD CONSTRAINT "queues_of_one_kind" CHECK ((executor_id is null) <> (agent_id is null));--> statement-breakpoint
-- A job that is done in parts waits for them as `locked`, and is completed when they are.
CREATE OR REPLACE FUNCTION "refuse_illegal_move"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status IN ('completed', 'failed', 'timeout', 'canceled') THEN
    RAISE EXCEPTION 'job % is final (%) and never changes', OLD.id, OLD.status USING ERRCODE = 'check_violation', CONSTRAINT = 'final_jobs_never_change';
  END IF;
  IF NEW.status <> OLD.status AND NOT (CASE OLD.status
    WHEN 'waiting' THEN NEW.status IN ('assigned', 'locked', 'canceled', 'failed')
    WHEN 'locked' THEN NEW.status IN ('waiting', 'canceled', 'failed') OR (NEW.status = 'completed' AND NEW.queue_id = 0)
    WHEN 'assigned' THEN NEW.status IN ('running', 'locked', 'waiting', 'retrying', 'canceling', 'completed', 'failed', 'timeout', 'canceled')
    WHEN 'running' THEN NEW.status IN ('retrying', 'canceling', 'completed', 'failed', 'timeout', 'canceled')
    WHEN 'retrying' THEN NEW.status IN ('waiting', 'canceled', 'failed')
    WHEN 'canceling' THEN NEW.status IN ('completed', 'failed', 'timeout', 'canceled')
    ELSE false
  END) THEN
    RAISE EXCEPTION 'job % may not move from % to %', OLD.id, OLD.status, NEW.status USING ERRCODE = 'check_violation', CONSTRAINT = 'legal_moves';
  END IF;
  IF NEW.fence < OLD.fence THEN
    RAISE EXCEPTION 'the fence of job % may not fall', OLD.id USING ERRCODE = 'check_violation', CONSTRAINT = 'fences_rise';
  END IF;
  RETURN NEW;
END $$;
