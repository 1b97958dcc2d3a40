import { Problem } from '../http/problem.ts'
import type { Submitter } from '../http/submitter.ts'
import type { Database } from '../store/database.ts'
import { findRepeated } from '../store/find-repeated.ts'
import type { Submitted } from '../store/submit.ts'

/** An idempotency key was used before. */
export type Before = Exclude<Submitted, { kind: 'stored' }>

/**
 * What is to be submitted; or, where that is refused, what it was before: a repeat is answered as the first was, also
 * when its executor has changed or gone meanwhile (promise 1).
 */
export async function unlessSubmittedBefore<Item>(
  db: Database,
  { principal, idempotency }: Submitter,
  make: () => Promise<Item>,
): Promise<Item | Before> {
  try {
    return await make()
  } catch (error) {
    if (!(error instanceof Problem) || idempotency === undefined) throw error
    const before = await findRepeated(db, { keyId: principal.key_id, ...idempotency })
    if (before === undefined) throw error
    return before
  }
}

/** The id of what was submitted before, or 409 where that was something else. */
export function idBefore(before: Before): string {
  if (before.kind === 'repeated') return before.id
  throw new Problem('idempotency_conflict', 'Use another Idempotency-Key for another body.')
}
