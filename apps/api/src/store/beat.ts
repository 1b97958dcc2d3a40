import type { TimeConstants } from '@errand/shared'
import type { Database } from './database.ts'
import type { ExecutionRow } from './execution-row.ts'

/** Every replica does this each `time.beatEveryMs`. Resolves to the jobs whose status changed. */
export function beat(db: Database, time: TimeConstants): Promise<ExecutionRow[]> {
  throw new Error(`to come ${String(db)} ${time.leaseMs}`)
}
