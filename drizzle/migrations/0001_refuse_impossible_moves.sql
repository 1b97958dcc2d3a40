INSERT INTO "control" DEFAULT VALUES;--> statement-breakpoint
-- Output is mostly read in ranges and seldom shrinks: out of line, uncompressed.
ALTER TABLE "code_execution_results" ALTER COLUMN "stdout" SET STORAGE EXTERNAL, ALTER COLUMN "stderr" SET STORAGE EXTERNAL;--> statement-breakpoint
ALTER TABLE "execution_output" ALTER COLUMN "bytes" SET STORAGE EXTERNAL;--> statement-breakpoint
-- Every job leaves two dead entries in the index that claims read.
ALTER TABLE "jobs" SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);--> statement-breakpoint
-- Renewals rewrite these few rows all the time; with room on the page no index is touched.
ALTER TABLE "agents" SET (fillfactor = 50);--> statement-breakpoint
ALTER TABLE "control" SET (fillfactor = 50);--> statement-breakpoint
-- The table legalMoves of packages/shared; a test holds the two equal.
CREATE FUNCTION "refuse_illegal_move"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.status IN ('completed', 'failed', 'timeout', 'canceled') THEN
    RAISE EXCEPTION 'job % is final (%) and never changes', OLD.id, OLD.status USING ERRCODE = 'check_violation', CONSTRAINT = 'final_jobs_never_change';
  END IF;
  IF NEW.status <> OLD.status AND NOT (CASE OLD.status
    WHEN 'waiting' THEN NEW.status IN ('assigned', 'locked', 'canceled', 'failed')
    WHEN 'locked' THEN NEW.status IN ('waiting', 'canceled', 'failed')
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
END $$;--> statement-breakpoint
CREATE TRIGGER "jobs_refuse_illegal_move" BEFORE UPDATE ON "jobs" FOR EACH ROW EXECUTE FUNCTION "refuse_illegal_move"();--> statement-breakpoint
CREATE FUNCTION "refuse_change"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'rows of % never change', TG_TABLE_NAME USING ERRCODE = 'check_violation', CONSTRAINT = 'results_never_change';
END $$;--> statement-breakpoint
CREATE TRIGGER "results_never_change" BEFORE UPDATE ON "code_execution_results" FOR EACH ROW EXECUTE FUNCTION "refuse_change"();--> statement-breakpoint
-- At commit: an execution is final exactly when it has a result, and both say the same outcome.
CREATE FUNCTION "require_result"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM code_execution_results r WHERE r.id = NEW.id AND r.outcome = NEW.outcome) THEN
    RAISE EXCEPTION 'execution % is final without a result that says so', NEW.id USING ERRCODE = 'check_violation', CONSTRAINT = 'final_executions_have_results';
  END IF;
  RETURN NULL;
END $$;--> statement-breakpoint
CREATE CONSTRAINT TRIGGER "final_executions_have_results" AFTER INSERT OR UPDATE ON "jobs" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.outcome IS NOT NULL AND NEW.type = 'code.execute') EXECUTE FUNCTION "require_result"();--> statement-breakpoint
CREATE FUNCTION "require_final_job"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM jobs j WHERE j.id = NEW.id AND j.outcome = NEW.outcome) THEN
    RAISE EXCEPTION 'execution % has a result and is not final', NEW.id USING ERRCODE = 'check_violation', CONSTRAINT = 'results_are_of_final_executions';
  END IF;
  RETURN NULL;
END $$;--> statement-breakpoint
CREATE CONSTRAINT TRIGGER "results_are_of_final_executions" AFTER INSERT ON "code_execution_results" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION "require_final_job"();
