import type { Database } from './database.ts'

/** The id of this installation, which agents sign and remember: the same on every replica and after every restart. */
export function serverId(db: Database): Promise<string> {
  throw new Error(`to come ${String(db)}`)
}
