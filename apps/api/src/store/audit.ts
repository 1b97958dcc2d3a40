import type { Database } from './database.ts'

/** Writes down who changed what. `detail` never has secrets. */
export function audit(
  db: Database,
  given: { actor: string; action: string; target: string; detail?: Record<string, unknown> | undefined },
): Promise<void> {
  throw new Error(`to come ${String(db)} ${given.action}`)
}
