import type { ExecutionSummary, Outcome, Status } from '@errand/shared'

/** What a client did and was told, in the order it happened to it. */
export type Observation =
  | {
      kind: 'submit'
      client: string
      /** The idempotency key, and the `key` among the labels: a name of the execution that is not Errand's. */
      key: string
      /** `retry.max_attempts` */
      attempts: number
      /** The id with a 2xx; `refused` where the answer promises that nothing was stored; `unknown` where nobody can tell. */
      answer: { id: string } | 'refused' | 'unknown'
    }
  | { kind: 'read'; client: string; id: string; state: State }

export interface State {
  status: Status
  outcome: Outcome | null
  attempt: number
}

/** A program's own word that it was started, from a file that Errand knows nothing of. */
export interface Start {
  key: string
  pid: number
}

/** An execution as it stands in the end. */
export interface Record extends State {
  id: string
  key: string
}

export interface History {
  observations: readonly Observation[]
  starts: readonly Start[]
  /** All there are, read when everything was healed and nothing went on any more. */
  records: readonly Record[]
}

export function toRecord({ id, labels, status, outcome, attempt }: ExecutionSummary): Record {
  return { id, key: labels['key'] ?? '', status, outcome, attempt }
}

export function toState({ status, outcome, attempt }: State): State {
  return { status, outcome, attempt }
}
