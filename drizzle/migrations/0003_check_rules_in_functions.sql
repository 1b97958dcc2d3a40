ALTER TABLE "jobs" DROP CONSTRAINT "jobs_type";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_status";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_final";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_outcome";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_held";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_locked";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_running";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_attempts";--> statement-breakpoint
ALTER TABLE "jobs" DROP CONSTRAINT "jobs_times";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_executor_type";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_outcome";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_phase";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_completed";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_success";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_failed";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_signal";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_memory";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_times";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_stdout";--> statement-breakpoint
ALTER TABLE "code_execution_results" DROP CONSTRAINT "results_stderr";--> statement-breakpoint
-- PostgreSQL parses every CHECK of a table anew in every statement that writes to it, which cost more than the writing; a
-- function's body is parsed once a session. The rules are those that the constraints above were.
CREATE FUNCTION "possible_job"("type" text, "status" text, "outcome" text, "agent_id" uuid, "epoch" bigint, "fence" bigint,
  "locked_by" uuid, "attempt" integer, "max_attempts" integer, "created_at" timestamptz, "started_at" timestamptz,
  "ended_at" timestamptz) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF type NOT IN ('code.execute', 'docker_image.download', 'runtime.install')
    OR max_attempts NOT BETWEEN 1 AND 10 OR attempt NOT BETWEEN 0 AND max_attempts OR created_at > started_at THEN
    RETURN false;
  ELSIF outcome IS NOT NULL THEN
    RETURN ended_at IS NOT NULL AND ended_at >= greatest(created_at, started_at) AND CASE outcome
      WHEN 'succeeded' THEN status = 'completed'
      WHEN 'failed' THEN status = 'completed'
      WHEN 'out_of_memory' THEN status = 'completed'
      WHEN 'output_limit' THEN status = 'completed'
      WHEN 'timed_out' THEN status = 'timeout'
      WHEN 'canceled' THEN status = 'canceled'
      WHEN 'rejected' THEN status = 'failed'
      WHEN 'infra_error' THEN status = 'failed'
      WHEN 'lost' THEN status = 'failed'
      ELSE false
    END;
  ELSIF status IN ('assigned', 'running', 'canceling') THEN
    RETURN ended_at IS NULL AND agent_id IS NOT NULL AND epoch IS NOT NULL AND fence > 0
      AND (status <> 'running' OR started_at IS NOT NULL);
  ELSE
    RETURN ended_at IS NULL AND (status IN ('waiting', 'retrying') OR status = 'locked' AND locked_by IS NOT NULL);
  END IF;
END $$;--> statement-breakpoint
CREATE FUNCTION "possible_result"("executor_type" text, "completed" boolean, "success" boolean, "exit_code" integer, "stdout" bytea,
  "stderr" bytea, "start_time_ms" bigint, "end_time_ms" bigint, "outcome" text, "phase" text, "signal" text,
  "out_of_memory" boolean, "stdout_bytes" bigint, "stderr_bytes" bigint, "stdout_truncated" boolean,
  "stderr_truncated" boolean) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  RETURN executor_type IN ('docker', 'ssh', 'localhost')
    AND outcome IN ('succeeded', 'failed', 'out_of_memory', 'output_limit', 'timed_out', 'canceled', 'rejected', 'infra_error', 'lost')
    AND (phase IS NULL OR phase IN ('compile', 'run'))
    AND completed = (outcome IN ('succeeded', 'failed', 'out_of_memory', 'output_limit', 'timed_out'))
    AND success = (outcome = 'succeeded') AND (NOT success OR coalesce(exit_code = 0, true))
    AND (outcome <> 'failed' OR phase IS NOT NULL)
    AND (signal IS NULL OR exit_code IS NULL)
    AND (outcome <> 'out_of_memory' OR out_of_memory)
    AND (start_time_ms IS NULL) = (end_time_ms IS NULL) AND coalesce(start_time_ms <= end_time_ms, true)
    AND stdout_bytes >= coalesce(length(stdout), 0) AND (stdout IS NULL OR stdout_truncated = (stdout_bytes > length(stdout)))
    AND stderr_bytes >= coalesce(length(stderr), 0) AND (stderr IS NULL OR stderr_truncated = (stderr_bytes > length(stderr)));
END $$;--> statement-breakpoint
ALTER TABLE "jobs" ADD CONSTRAINT "jobs_possible" CHECK (possible_job(type, status, outcome, agent_id, epoch, fence, locked_by, attempt, max_attempts, created_at, started_at, ended_at));--> statement-breakpoint
ALTER TABLE "code_execution_results" ADD CONSTRAINT "results_possible" CHECK (possible_result(executor_type, completed, success, exit_code, stdout, stderr, start_time_ms, end_time_ms, outcome, phase, signal, out_of_memory, stdout_bytes, stderr_bytes, stdout_truncated, stderr_truncated));