import { Counter, Gauge, Histogram, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof createMetrics>

/**
 * What this replica counts from its start on; the sum over all replicas is the whole. Labels have few values, all known
 * beforehand: types, outcomes, verdicts, never names or ids. docs/metrics.md says what each is for.
 */
export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Counter({ name, help, labelNames, registers })
  const seconds = <Label extends string>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: readonly Label[] = [],
  ) => new Histogram({ name, help, labelNames, buckets, registers })
  return {
    registry,
    submissions: counter('errand_submissions_total', 'Submissions that were answered with an execution.', [
      'result',
    ]),
    assignments: counter(
      'errand_assignments_total',
      'Jobs that were given to agents, those sent again included.',
      ['type', 'executor_type'],
    ),
    results: counter('errand_results_total', 'Final messages of agents, by what became of them.', [
      'verdict',
    ]),
    ended: counter('errand_jobs_ended_total', 'Jobs that became final.', [
      'type',
      'executor_type',
      'outcome',
    ]),
    retried: counter(
      'errand_jobs_retried_total',
      'Attempts that came to nothing and are followed by another.',
      ['executor_type'],
    ),
    reconciled: counter('errand_reconciled_jobs_total', 'Jobs that agents held when they came back.', [
      'verdict',
    ]),
    output: counter('errand_output_bytes_total', 'Output of executions that ended with a result.', ['fate']),
    queued: seconds('errand_job_queue_seconds', 'From submission to assignment.', waits, ['executor_type']),
    prepared: seconds('errand_job_prepare_seconds', 'From assignment to the start of the program.', waits, [
      'executor_type',
    ]),
    ran: seconds('errand_job_run_seconds', 'From the start of the program to its end.', waits, [
      'executor_type',
    ]),
    renewals: counter('errand_lease_renewals_total', 'Renewals that agents asked for.', ['result']),
    renewed: seconds('errand_lease_renewal_seconds', 'How long a renewal took here.', acts),
    handshakesRefused: counter('errand_handshakes_refused_total', 'Agents that were not let in.', ['reason']),
    sockets: new Gauge({
      name: 'errand_agent_sockets',
      help: 'Open sockets of agents, those that have not said who they are included.',
      registers,
    }),
    statements: seconds(
      'errand_database_statement_seconds',
      'How long statements took, waits for a connection included.',
      acts,
    ),
    databaseErrors: counter('errand_database_errors_total', 'Statements that failed.', ['kind']),
  }
}

/** Of jobs, in seconds. */
const waits = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200]
/** Of what the API does by itself, in seconds. */
const acts = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10]
