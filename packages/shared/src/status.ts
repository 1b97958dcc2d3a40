import { z } from 'zod'

/** The life of a job. `completed failed timeout canceled` are final: once read they never change (promise 3). */
export const status = z.enum([
  'waiting',
  'locked',
  'assigned',
  'running',
  'retrying',
  'canceling',
  'completed',
  'failed',
  'timeout',
  'canceled',
])
export type Status = z.infer<typeof status>

export const finalStatuses = ['completed', 'failed', 'timeout', 'canceled'] as const satisfies Status[]
export type FinalStatus = (typeof finalStatuses)[number]
export const liveStatuses = status.options.filter((one) => !isFinal(one))

/** Statuses in which an agent holds the job. */
export const heldStatuses = ['assigned', 'running', 'canceling'] as const satisfies Status[]

export function isFinal(one: Status): one is FinalStatus {
  return (finalStatuses as readonly Status[]).includes(one)
}

/**
 * Where a status may go. Every UPDATE of a status names the states it may come from; the database refuses the rest
 * (a trigger that is generated from this table's words, held equal to it by a test). A job that is done in parts may
 * move from `locked` to `completed` besides.
 */
export const legalMoves: Record<Status, readonly Status[]> = {
  waiting: ['assigned', 'locked', 'canceled', 'failed'],
  locked: ['waiting', 'canceled', 'failed'],
  // `waiting` only with proof that it never started
  assigned: ['running', 'locked', 'waiting', 'retrying', 'canceling', ...finalStatuses],
  running: ['retrying', 'canceling', ...finalStatuses],
  retrying: ['waiting', 'canceled', 'failed'],
  canceling: [...finalStatuses],
  completed: [],
  failed: [],
  timeout: [],
  canceled: [],
}

export function mayMove(from: Status, to: Status): boolean {
  return legalMoves[from].includes(to)
}

/** How an execution ended: decided once, the first reason wins (promise 5). */
export const outcome = z.enum([
  'succeeded',
  'failed',
  'out_of_memory',
  'output_limit',
  'timed_out',
  'canceled',
  'rejected',
  'infra_error',
  'lost',
])
export type Outcome = z.infer<typeof outcome>

/** The status that belongs to each outcome; an exhaustive table, checked by the database too. */
export const statusOfOutcome: Record<Outcome, FinalStatus> = {
  succeeded: 'completed',
  failed: 'completed',
  out_of_memory: 'completed',
  output_limit: 'completed',
  timed_out: 'timeout',
  canceled: 'canceled',
  rejected: 'failed',
  infra_error: 'failed',
  lost: 'failed',
}

/** Outcomes in which user code came to its own end or met its own limit: the seed's `completed` flag. */
export const completedOutcomes = [
  'succeeded',
  'failed',
  'out_of_memory',
  'output_limit',
  'timed_out',
] as const satisfies Outcome[]

export function isCompleted(one: Outcome): boolean {
  return (completedOutcomes as readonly Outcome[]).includes(one)
}

/** Our own failures, the only ones that `retry.max_attempts` repeats. */
export const retriedOutcomes = ['lost', 'infra_error'] as const satisfies Outcome[]

export function isRetried(one: Outcome): boolean {
  return (retriedOutcomes as readonly Outcome[]).includes(one)
}

/** Which part of a run an outcome speaks of. */
export const phase = z.enum(['compile', 'run'])
export type Phase = z.infer<typeof phase>
