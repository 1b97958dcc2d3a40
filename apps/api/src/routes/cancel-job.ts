import type { Context } from 'hono'
import type { JobType } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { Problem } from '../http/problem.ts'
import { requireRole, visibleProject } from '../http/require-role.ts'
import { noQuery, validQuery } from '../http/validate.ts'
import { publishChange } from '../live/publish-change.ts'
import { cancel } from '../store/cancel.ts'
import type { ExecutionRow } from '../store/execution-row.ts'

/** Cancels the job `{id}` of the path: 202, or 200 when it was canceled already. With `type` there are no others. */
export async function cancelJob(
  c: Context<AppEnv>,
  parts: Parts,
  type?: JobType,
): Promise<{ status: 200 | 202; execution: ExecutionRow }> {
  const { db, live, dispatch } = parts
  requireRole(c, 'runner')
  validQuery(c, noQuery)
  const id = idParam(c)
  const canceled = await cancel(db, { id, project: visibleProject(c), type })
  if (canceled.kind === 'not_found') throw notFound()
  if (canceled.kind === 'forbidden')
    throw new Problem(
      'forbidden',
      'It is of another project, or others wait for it, too: only an admin may cancel it.',
    )
  if (canceled.kind === 'final')
    throw new Problem('already_final', `It has already ended: its status is ${canceled.status}.`)
  const { kind, execution } = canceled
  if (kind === 'already_canceled') return { status: 200, execution }
  if (kind === 'canceling') dispatch.cancel(canceled.agentId, id, canceled.fence)
  publishChange(live, execution)
  // Jobs may wait for it, and it for others that nobody wants now.
  if (execution.type !== 'code.execute' || (kind === 'canceled' && canceled.was === 'locked'))
    await parts.settle()
  return { status: 202, execution }
}
