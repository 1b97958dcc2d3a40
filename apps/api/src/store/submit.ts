import type { AppliedLimits, ExecutorType, LimitName, RuntimeName, Submission } from '@errand/shared'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

/** A validated submission, ready to be stored. */
export interface NewExecution {
  /** Made by the caller (`newId()`), so that a submit whose answer was lost may be repeated. */
  id: string
  project: string
  keyId: string
  /** `sha256` (hex) is of the body as it was sent: same key and same body is the same execution. */
  idempotency: { key: string; sha256: string } | undefined
  executor: { executor_id: string; name: string; executor_type: ExecutorType; config_id: string }
  queueId: number
  runtime: RuntimeName
  limits: AppliedLimits
  requiredLimits: LimitName[]
  submission: Submission
}

export type Submitted =
  | { kind: 'stored'; job: ExecutionRow }
  /** The key was used before, with the same body, for this execution. */
  | { kind: 'repeated'; id: string }
  /** The key was used before with another body. */
  | { kind: 'conflict' }

export type Submit = (item: NewExecution) => Promise<Submitted>

export function createSubmit(db: Database): Submit {
  throw new Error(`to come ${String(db)}`)
}
