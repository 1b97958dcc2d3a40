import type { Database } from './database.ts'
import { readExecutions } from './read-execution.ts'
import type { NewExecution, Submitted } from './submit.ts'

/**
 * What is there of items that a submit did not store: their key was used before, or this very submit is repeated since
 * its answer was lost.
 */
export async function findSubmitted<Item extends Pick<NewExecution, 'id' | 'keyId' | 'idempotency'>>(
  db: Database,
  items: readonly Item[],
): Promise<Map<Item, Submitted>> {
  const keys = await db.query<{ key_id: string; key: string; body_sha256: string; job_id: string }>(
    `select k.key_id, k.key, k.body_sha256, k.job_id
     from json_to_recordset($1::text::json) as i(key_id uuid, key text)
     join idempotency_keys k on k.key_id = i.key_id and k.key = i.key`,
    [
      JSON.stringify(
        items.flatMap(({ keyId, idempotency }) =>
          idempotency ? [{ key_id: keyId, key: idempotency.key }] : [],
        ),
      ),
    ],
  )
  const rows = new Map(
    (
      await readExecutions(
        db,
        items.map(({ id }) => id),
      )
    ).map((row) => [row.id, row]),
  )
  return new Map(items.map((item) => [item, whatIsThere(item)]))

  function whatIsThere(item: Item): Submitted {
    const known = keys.find((one) => one.key_id === item.keyId && one.key === item.idempotency?.key)
    if (known !== undefined && known.body_sha256 !== item.idempotency?.sha256) return { kind: 'conflict' }
    if (known !== undefined && known.job_id !== item.id) return { kind: 'repeated', id: known.job_id }
    const job = rows.get(item.id)
    if (job === undefined) throw new Error(`job ${item.id} was neither stored nor there before`)
    return { kind: 'stored', job }
  }
}
