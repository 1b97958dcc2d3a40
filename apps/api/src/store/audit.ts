import { audit_log } from '@errand/drizzle/schema'
import type { Database } from './database.ts'
import { newId } from './new-id.ts'

/** Writes down who changed what. `detail` never has secrets. */
export async function audit(
  db: Database,
  given: { actor: string; action: string; target: string; detail?: Record<string, unknown> | undefined },
): Promise<void> {
  await db.drizzle.insert(audit_log).values({ id: newId(), ...given })
}
