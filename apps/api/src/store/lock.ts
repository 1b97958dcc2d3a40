import {
  maintenanceDefaults,
  type JobType,
  type MaintenanceType,
  type RuntimeName,
  type Status,
} from '@errand/shared'
import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import { endsAs, insertResultsOf, letGo } from './end-without-result.ts'
import { executionColumns, liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { findOrMakePart } from './find-or-make-part.ts'
import { handBack, wasLetGo } from './hand-back.ts'
import { dependenciesNeed, imageNeed, type Need, type NeedyExecutor } from './need.ts'
import { needyExecutor } from './needy-executor.ts'
import { storableText } from './storable-text.ts'

export interface Locked {
  verdict: 'stored' | 'stale'
  /** As it is now; absent when it was locked before. */
  job?: ExecutionRow | undefined
}

/** What is missing again although it was brought so often will not be there the next time. */
export const mostLocks = 5

/** What may wait for what. It has no cycle: a download waits for nothing. */
const mayWaitFor: Record<JobType, readonly MaintenanceType[]> = {
  'code.execute': ['docker_image.download', 'runtime.install'],
  'runtime.install': ['docker_image.download'],
  'docker_image.download': [],
}

interface HeldRow {
  type: JobType
  status: Status
  config_id: string
  runtime: RuntimeName
  project: string
  key_id: string
  priority: number
  times_locked: number
  asked: string[] | null
}

/**
 * An agent was given a job and lacks what it needs, and has not started it. It waits for the job that brings that to this
 * agent (the one under way, or a new one), and its slot is free.
 */
export function lock(
  db: Database,
  given: ClaimOf & { need: MaintenanceType; reason: string },
): Promise<Locked> {
  const { id, fence, agentId, epoch, need: type } = given
  const reason = storableText(given.reason)
  return db.transaction(async (tx) => {
    const [held] = await tx.query<HeldRow>(heldStatement, [id, fence, agentId, epoch])
    if (held === undefined) return { verdict: (await wasLetGo(tx, given)) ? 'stored' : 'stale' }
    // Canceled meanwhile; or an agent asks for what can't be.
    const handedBack = async (): Promise<Locked> => {
      const { verdict, execution } = await handBack(tx, { ...given, reason })
      return { verdict, job: execution }
    }
    if (held.status === 'canceling' || !mayWaitFor[held.type].includes(type)) return handedBack()
    if (held.times_locked >= mostLocks) {
      const error = `${reason}, although it was brought ${mostLocks} times`
      const [ended] = await tx.query<ExecutionRow>(giveUpStatement, [id, fence, error])
      return { verdict: 'stored', job: ended }
    }
    const executor = await needyExecutor(tx, held.config_id)
    const { priority, runtime } = held
    const part = await findOrMakePart(tx, {
      agentId,
      need: await needOf(type, executor, held),
      executor,
      runtime,
      project: held.project,
      keyId: held.key_id,
      priority,
      timeoutSec: maintenanceDefaults.timeout_sec,
      maxAttempts: maintenanceDefaults.max_attempts,
    })
    // It is being canceled and will bring nothing; a new one can be made when it has ended.
    if (part.status === 'canceling') return handedBack()
    const [job] = await tx.query<ExecutionRow>(lockStatement, [id, fence, part.id, reason])
    return { verdict: 'stored', job }
  })
}

function needOf(
  type: MaintenanceType,
  executor: NeedyExecutor,
  { runtime, asked }: HeldRow,
): Promise<Need> | Need {
  return type === 'runtime.install' ? dependenciesNeed(executor, runtime, asked ?? []) : imageNeed(executor)
}

/** `asked`: the packages that the submission names. As JSON, not JSONB, since its code may have NUL in it. */
const heldStatement = `
select j.type, j.status, j.config_id, j.runtime, j.project, j.key_id, j.priority, j.times_locked,
  (select (convert_from(q.body, 'UTF8')::json->'dependencies')::jsonb from execution_requests q where q.id = j.id) as asked
from jobs j
where j.id = $1 and j.fence = $2 and j.agent_id = $3 and j.epoch = $4 and j.status in ('assigned', 'canceling')
  and j.started_at is null
for no key update`

const lockStatement = `
update jobs j set status = 'locked', locked_by = $3::uuid, waiting_reason = $4::text, times_locked = times_locked + 1, ${letGo}
where j.id = $1 and j.fence = $2 and j.status = 'assigned' returning ${liveColumns('j')}`

const giveUpStatement = `
with ended as (
  update jobs j set ${endsAs('infra_error', '$3::text')}
  where j.id = $1 and j.fence = $2 and j.status = 'assigned' returning j.*
), result as (${insertResultsOf('ended')})
select ${executionColumns('e', 'r')} from ended e left join result r on r.id = e.id`
