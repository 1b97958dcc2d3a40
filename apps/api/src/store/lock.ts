import {
  maintenanceDefaults,
  type JobType,
  type MaintenanceType,
  type RuntimeName,
  type Status,
  type Submission,
} from '@errand/shared'
import type { ClaimOf } from './claim-of.ts'
import type { Database } from './database.ts'
import { endsAs, insertResultsOf, letGo } from './end-without-result.ts'
import { executionColumns, liveColumns } from './execution-columns.ts'
import type { ExecutionRow } from './execution-row.ts'
import { findOrMakePart } from './find-or-make-part.ts'
import { handBack, wasLetGo } from './hand-back.ts'
import { hasStatus } from './has-status.ts'
import { needOf } from './need.ts'
import { needyExecutor } from './needy-executor.ts'
import { readRequest } from './read-request.ts'
import { storableText } from './storable-text.ts'

export interface Locked {
  verdict: 'stored' | 'stale'
  /** As it is now; absent when it was locked before. */
  job?: ExecutionRow | undefined
  /** The queue of the job that it waits for; absent where it waits for none. */
  queueId?: number
}

/** What is missing so often where it was just brought will not be there the next time. */
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
  /** How often it lacked something where it had just been unlocked, this time included. */
  missing_again: number
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
    const handedBack = async (): Promise<Locked> => {
      const { verdict, execution } = await handBack(tx, { ...given, reason })
      return { verdict, job: execution }
    }
    const givenUp = async (why: string): Promise<Locked> => {
      const [job] = await tx.query<ExecutionRow>(giveUpStatement, [id, fence, `${reason}${why}`])
      return { verdict: 'stored', job }
    }
    // Canceled meanwhile; or an agent asks for what can't be.
    if (held.status === 'canceling' || !mayWaitFor[held.type].includes(type)) return handedBack()
    if (held.missing_again >= mostLocks) return givenUp(`, although it was brought ${mostLocks} times`)
    const executor = await needyExecutor(tx, held.config_id)
    const { priority, runtime } = held
    const asked = type === 'runtime.install' ? await dependenciesOf(tx, id) : []
    const need = await needOf(type, executor, runtime, asked)
    if ('fault' in need) return givenUp(`; ${need.fault}`)
    const part = await findOrMakePart(tx, {
      agentId,
      need,
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
    const [job] = await tx.query<ExecutionRow>(lockStatement, [
      id,
      fence,
      part.id,
      reason,
      held.missing_again,
    ])
    return { verdict: 'stored', job, queueId: part.queueId }
  })
}

/** The packages that the submission names. PostgreSQL cannot look into JSON whose code has NUL in it. */
async function dependenciesOf(tx: Database, id: string): Promise<readonly string[]> {
  const request = await readRequest(tx, { id, project: null })
  const body = JSON.parse(new TextDecoder().decode(request!.body)) as Pick<Submission, 'dependencies'>
  return body.dependencies ?? []
}

/** The agent's row first, as whoever ends or moves all of an agent's jobs does: so they don't wait for each other. */
const heldStatement = `
with agent as materialized (select id from agents where id = $3 for share)
select j.type, j.status, j.config_id, j.runtime, j.project, j.key_id, j.priority,
  j.times_locked + coalesce(j.preferred_agent_id = j.agent_id, false)::int as missing_again
from agent a join jobs j on j.agent_id = a.id
where j.id = $1 and j.fence = $2 and j.epoch = $4 and ${hasStatus('j', 'assigned', 'canceling')}
  and j.started_at is null
for no key update of j`

const lockStatement = `
update jobs j set status = 'locked', locked_by = $3::uuid, waiting_reason = $4::text, times_locked = $5::int,
  preferred_agent_id = j.agent_id, ${letGo}
where j.id = $1 and j.fence = $2 and ${hasStatus('j', 'assigned')} returning ${liveColumns('j')}`

const giveUpStatement = `
with ended as (
  update jobs j set ${endsAs('infra_error', '$3::text')}
  where j.id = $1 and j.fence = $2 and ${hasStatus('j', 'assigned')} returning j.*
), result as (${insertResultsOf('ended')})
select ${executionColumns('e', 'r')} from ended e left join result r on r.id = e.id`
