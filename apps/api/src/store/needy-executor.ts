import type { Database } from './database.ts'
import { allVersions } from './executor-version.ts'
import type { NeedyExecutor } from './need.ts'

/** A version of an executor, which may be no longer the current one, without its secrets. */
export async function needyExecutor(db: Database, configId: string): Promise<NeedyExecutor> {
  const [row] = await db.query<NeedyExecutor>(
    `select e.id as executor_id, v.config_id, e.name,
       v.settings || jsonb_build_object('executor_type', e.executor_type) as settings,
       (select coalesce(jsonb_agg(s.field), '[]') from executor_secrets s where s.config_id = v.config_id) as has_secrets
     from ${allVersions} v join code_executors e on e.id = v.code_executor where v.config_id = $1`,
    [configId],
  )
  if (row === undefined) throw new Error(`no executor configuration ${configId}`)
  return row
}
