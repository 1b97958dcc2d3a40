import type { ExecutorType } from '@errand/shared'
import type { Database } from './database.ts'

/** What a waiting job needs: its executor, and an agent with all of these labels. */
export interface Queue {
  id: number
  executorId: string
  executorType: ExecutorType
  labels: Record<string, string>
}

export type QueueFor = (executorId: string, labels: Record<string, string>) => Promise<number>

/** Finds or makes a queue; what was found once is remembered. */
export function createQueueFor(db: Database): QueueFor {
  throw new Error(`to come ${String(db)}`)
}

export function listQueues(db: Database): Promise<Queue[]> {
  throw new Error(`to come ${String(db)}`)
}
