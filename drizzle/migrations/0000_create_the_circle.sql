CREATE SEQUENCE "public"."job_fence" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1;--> statement-breakpoint
CREATE TABLE "agents" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"labels" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"public_key" text NOT NULL,
	"boot_id" text,
	"spool_id" text,
	"certain" boolean DEFAULT true NOT NULL,
	"epoch" bigint DEFAULT 0 NOT NULL,
	"lease_until" timestamp with time zone,
	"draining" boolean DEFAULT false NOT NULL,
	"revoked_at" timestamp with time zone,
	"last_seen_at" timestamp with time zone,
	"report" jsonb,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "enrollment_tokens" (
	"id" uuid PRIMARY KEY NOT NULL,
	"token_sha256" text NOT NULL,
	"name" text,
	"labels" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone NOT NULL,
	"used_at" timestamp with time zone,
	"agent_id" uuid,
	CONSTRAINT "enrollment_tokens_token_sha256_unique" UNIQUE("token_sha256")
);
--> statement-breakpoint
CREATE TABLE "audit_log" (
	"id" uuid PRIMARY KEY NOT NULL,
	"at" timestamp with time zone DEFAULT now() NOT NULL,
	"actor" text NOT NULL,
	"action" text NOT NULL,
	"target" text NOT NULL,
	"detail" jsonb DEFAULT '{}'::jsonb NOT NULL
);
--> statement-breakpoint
CREATE TABLE "control" (
	"id" integer PRIMARY KEY DEFAULT 1 NOT NULL,
	"server_id" uuid DEFAULT gen_random_uuid() NOT NULL,
	"api_alive_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expiry_stands_until" timestamp with time zone,
	CONSTRAINT "control_is_one_row" CHECK (id = 1)
);
--> statement-breakpoint
CREATE TABLE "code_executors" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"executor_type" text NOT NULL,
	"source" text NOT NULL,
	"config_id" uuid NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"deleted_at" timestamp with time zone,
	CONSTRAINT "code_executors_type" CHECK (executor_type in ('docker', 'ssh', 'localhost')),
	CONSTRAINT "code_executors_source" CHECK (source in ('config', 'default', 'rest'))
);
--> statement-breakpoint
CREATE TABLE "docker_executors" (
	"docker_executor_id" uuid PRIMARY KEY NOT NULL,
	"code_executor" uuid NOT NULL,
	"settings" jsonb NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"image" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "executor_secrets" (
	"executor_id" uuid NOT NULL,
	"config_id" uuid NOT NULL,
	"field" text NOT NULL,
	"key_id" text NOT NULL,
	"iv" "bytea" NOT NULL,
	"ciphertext" "bytea" NOT NULL,
	CONSTRAINT "executor_secrets_config_id_field_pk" PRIMARY KEY("config_id","field")
);
--> statement-breakpoint
CREATE TABLE "local_executors" (
	"local_executor_id" uuid PRIMARY KEY NOT NULL,
	"code_executor" uuid NOT NULL,
	"settings" jsonb NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"executor_path" text,
	"timeout_sec" double precision NOT NULL,
	"work_dir" text
);
--> statement-breakpoint
CREATE TABLE "queues" (
	"id" integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "queues_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 2147483647 START WITH 1 CACHE 1),
	"executor_id" uuid NOT NULL,
	"labels" jsonb NOT NULL,
	CONSTRAINT "queues_need" UNIQUE("executor_id","labels")
);
--> statement-breakpoint
CREATE TABLE "ssh_executors" (
	"ssh_executor_id" uuid PRIMARY KEY NOT NULL,
	"code_executor" uuid NOT NULL,
	"settings" jsonb NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"host" text NOT NULL,
	"port" integer NOT NULL,
	"username" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "execution_requests" (
	"id" uuid PRIMARY KEY NOT NULL,
	"body" "bytea" NOT NULL,
	"bytes" integer NOT NULL,
	"sha256" text NOT NULL
);
--> statement-breakpoint
CREATE TABLE "jobs" (
	"id" uuid PRIMARY KEY NOT NULL,
	"type" text NOT NULL,
	"status" text NOT NULL,
	"outcome" text,
	"project" text NOT NULL,
	"key_id" uuid NOT NULL,
	"queue_id" integer NOT NULL,
	"executor_id" uuid NOT NULL,
	"executor_name" text NOT NULL,
	"executor_type" text NOT NULL,
	"config_id" uuid NOT NULL,
	"runtime" text NOT NULL,
	"priority" integer DEFAULT 0 NOT NULL,
	"attempt" integer DEFAULT 0 NOT NULL,
	"max_attempts" integer DEFAULT 1 NOT NULL,
	"lost_claims" integer DEFAULT 0 NOT NULL,
	"fence" bigint DEFAULT 0 NOT NULL,
	"agent_id" uuid,
	"epoch" bigint,
	"locked_by" uuid,
	"waiting_reason" text,
	"limits" jsonb NOT NULL,
	"required_limits" jsonb NOT NULL,
	"labels" jsonb NOT NULL,
	"not_before" timestamp with time zone,
	"expires_at" timestamp with time zone,
	"cancel_requested_at" timestamp with time zone,
	"created_at" timestamp (3) with time zone NOT NULL,
	"assigned_at" timestamp with time zone,
	"started_at" timestamp with time zone,
	"ended_at" timestamp with time zone,
	"error" text,
	CONSTRAINT "jobs_type" CHECK (type in ('code.execute', 'docker_image.download', 'runtime.install')),
	CONSTRAINT "jobs_status" CHECK (status in ('waiting', 'locked', 'assigned', 'running', 'retrying', 'canceling', 'completed', 'failed', 'timeout', 'canceled')),
	CONSTRAINT "jobs_final" CHECK ((status in ('completed', 'failed', 'timeout', 'canceled')) = (outcome is not null) and (status in ('completed', 'failed', 'timeout', 'canceled')) = (ended_at is not null)),
	CONSTRAINT "jobs_outcome" CHECK (outcome in ('succeeded', 'failed', 'out_of_memory', 'output_limit', 'timed_out', 'canceled', 'rejected', 'infra_error', 'lost') and status = case outcome when 'succeeded' then 'completed' when 'failed' then 'completed' when 'out_of_memory' then 'completed' when 'output_limit' then 'completed' when 'timed_out' then 'timeout' when 'canceled' then 'canceled' when 'rejected' then 'failed' when 'infra_error' then 'failed' when 'lost' then 'failed' end),
	CONSTRAINT "jobs_held" CHECK (not (status in ('assigned', 'running', 'canceling')) or (agent_id is not null and epoch is not null and fence > 0)),
	CONSTRAINT "jobs_locked" CHECK (status <> 'locked' or locked_by is not null),
	CONSTRAINT "jobs_running" CHECK (status <> 'running' or started_at is not null),
	CONSTRAINT "jobs_attempts" CHECK (max_attempts between 1 and 10 and attempt between 0 and max_attempts),
	CONSTRAINT "jobs_times" CHECK (created_at <= started_at and greatest(created_at, started_at) <= ended_at)
);
--> statement-breakpoint
CREATE TABLE "api_keys" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"role" text NOT NULL,
	"project" text NOT NULL,
	"secret_sha256" text NOT NULL,
	"bootstrap" boolean DEFAULT false NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp with time zone,
	"revoked_at" timestamp with time zone,
	"last_used_at" timestamp with time zone,
	CONSTRAINT "api_keys_secret_sha256_unique" UNIQUE("secret_sha256"),
	CONSTRAINT "api_keys_role" CHECK (role in ('admin', 'runner', 'viewer'))
);
--> statement-breakpoint
CREATE TABLE "idempotency_keys" (
	"key_id" uuid NOT NULL,
	"key" text NOT NULL,
	"body_sha256" text NOT NULL,
	"job_id" uuid NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	CONSTRAINT "idempotency_keys_key_id_key_pk" PRIMARY KEY("key_id","key")
);
--> statement-breakpoint
CREATE TABLE "code_execution_results" (
	"id" uuid PRIMARY KEY NOT NULL,
	"executor_type" text NOT NULL,
	"executor_id" uuid NOT NULL,
	"runtime_id" text NOT NULL,
	"name" text NOT NULL,
	"config_id" uuid NOT NULL,
	"completed" boolean NOT NULL,
	"success" boolean NOT NULL,
	"exit_code" integer,
	"stdout" "bytea",
	"stderr" "bytea",
	"hostname" text,
	"start_time_ms" bigint,
	"end_time_ms" bigint,
	"duration_sec" double precision,
	"error" text,
	"outcome" text NOT NULL,
	"phase" text,
	"signal" text,
	"out_of_memory" boolean NOT NULL,
	"attempt" integer NOT NULL,
	"fence" bigint NOT NULL,
	"agent_id" uuid,
	"container_id" text,
	"stdout_bytes" bigint NOT NULL,
	"stderr_bytes" bigint NOT NULL,
	"stdout_truncated" boolean NOT NULL,
	"stderr_truncated" boolean NOT NULL,
	"usage" jsonb,
	"isolation" jsonb,
	"timings" jsonb,
	"compile" jsonb,
	CONSTRAINT "results_executor_type" CHECK (executor_type in ('docker', 'ssh', 'localhost')),
	CONSTRAINT "results_outcome" CHECK (outcome in ('succeeded', 'failed', 'out_of_memory', 'output_limit', 'timed_out', 'canceled', 'rejected', 'infra_error', 'lost')),
	CONSTRAINT "results_phase" CHECK (phase in ('compile', 'run')),
	CONSTRAINT "results_completed" CHECK (completed = (outcome in ('succeeded', 'failed', 'out_of_memory', 'output_limit', 'timed_out'))),
	CONSTRAINT "results_success" CHECK (success = (outcome = 'succeeded') and (not success or exit_code = 0)),
	CONSTRAINT "results_failed" CHECK (outcome <> 'failed' or phase is not null),
	CONSTRAINT "results_signal" CHECK (signal is null or exit_code is null),
	CONSTRAINT "results_memory" CHECK (outcome <> 'out_of_memory' or out_of_memory),
	CONSTRAINT "results_times" CHECK ((start_time_ms is null) = (end_time_ms is null) and start_time_ms <= end_time_ms),
	CONSTRAINT "results_stdout" CHECK (stdout_bytes >= coalesce(length(stdout), 0) and (stdout is null or stdout_truncated = (stdout_bytes > length(stdout)))),
	CONSTRAINT "results_stderr" CHECK (stderr_bytes >= coalesce(length(stderr), 0) and (stderr is null or stderr_truncated = (stderr_bytes > length(stderr))))
);
--> statement-breakpoint
CREATE TABLE "execution_output" (
	"execution_id" uuid NOT NULL,
	"fence" bigint NOT NULL,
	"stream" text NOT NULL,
	"offset" bigint NOT NULL,
	"bytes" "bytea" NOT NULL,
	CONSTRAINT "execution_output_execution_id_fence_stream_offset_pk" PRIMARY KEY("execution_id","fence","stream","offset"),
	CONSTRAINT "output_stream" CHECK (stream in ('stdout', 'stderr')),
	CONSTRAINT "output_offset" CHECK ("offset" >= 0 and length(bytes) > 0)
);
--> statement-breakpoint
ALTER TABLE "enrollment_tokens" ADD CONSTRAINT "enrollment_tokens_agent_id_agents_id_fk" FOREIGN KEY ("agent_id") REFERENCES "public"."agents"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "docker_executors" ADD CONSTRAINT "docker_executors_code_executor_code_executors_id_fk" FOREIGN KEY ("code_executor") REFERENCES "public"."code_executors"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "executor_secrets" ADD CONSTRAINT "executor_secrets_executor_id_code_executors_id_fk" FOREIGN KEY ("executor_id") REFERENCES "public"."code_executors"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "local_executors" ADD CONSTRAINT "local_executors_code_executor_code_executors_id_fk" FOREIGN KEY ("code_executor") REFERENCES "public"."code_executors"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "queues" ADD CONSTRAINT "queues_executor_id_code_executors_id_fk" FOREIGN KEY ("executor_id") REFERENCES "public"."code_executors"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "ssh_executors" ADD CONSTRAINT "ssh_executors_code_executor_code_executors_id_fk" FOREIGN KEY ("code_executor") REFERENCES "public"."code_executors"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "execution_requests" ADD CONSTRAINT "execution_requests_id_jobs_id_fk" FOREIGN KEY ("id") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "code_execution_results" ADD CONSTRAINT "code_execution_results_id_jobs_id_fk" FOREIGN KEY ("id") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "execution_output" ADD CONSTRAINT "execution_output_execution_id_jobs_id_fk" FOREIGN KEY ("execution_id") REFERENCES "public"."jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "agents_live_name" ON "agents" USING btree ("name") WHERE revoked_at is null;--> statement-breakpoint
CREATE INDEX "audit_log_at" ON "audit_log" USING btree ("at");--> statement-breakpoint
CREATE UNIQUE INDEX "code_executors_live_name" ON "code_executors" USING btree ("name") WHERE deleted_at is null;--> statement-breakpoint
CREATE INDEX "jobs_claimable" ON "jobs" USING btree ("queue_id","priority" DESC NULLS FIRST,"created_at","id") WHERE status = 'waiting';--> statement-breakpoint
CREATE INDEX "jobs_by_holder" ON "jobs" USING btree ("agent_id") WHERE status in ('assigned', 'running', 'canceling');--> statement-breakpoint
CREATE INDEX "jobs_retrying" ON "jobs" USING btree ("not_before") WHERE status = 'retrying';--> statement-breakpoint
CREATE INDEX "jobs_expiring" ON "jobs" USING btree ("expires_at") WHERE status in ('waiting', 'locked', 'retrying') and expires_at is not null;--> statement-breakpoint
CREATE INDEX "jobs_by_age" ON "jobs" USING btree ("created_at","id");--> statement-breakpoint
CREATE INDEX "idempotency_keys_created_at" ON "idempotency_keys" USING btree ("created_at");