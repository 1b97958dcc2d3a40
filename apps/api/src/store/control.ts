import type { Database } from './database.ts'

/** The id of this installation, which agents sign and remember: the same on every replica and after every restart. */
export async function serverId(db: Database): Promise<string> {
  const [row] = await db.query<{ server_id: string }>('select server_id from control')
  return row!.server_id
}
