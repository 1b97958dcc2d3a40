import { expect } from 'vitest'
import type { ClaimFrom } from './claim.ts'
import type { Database } from './database.ts'
import { openSession } from './sessions.ts'
import { enrollAgent, report } from './testing-scene.ts'

/** The ids of `count` jobs in the order in which so many agents, which ask at once again and again, are given them. */
export async function claimAtOnce(
  db: Database,
  claim: ClaimFrom,
  { agents: howMany, queueId, count }: { agents: number; queueId: number; count: number },
): Promise<string[]> {
  const agents = await Promise.all(
    Array.from({ length: howMany }, async () => {
      const agentId = await enrollAgent(db)
      const session = await openSession(db, { agentId, bootId: 'b', spoolId: 's', report, leaseMs: 60_000 })
      return { agentId, epoch: (session as { epoch: number }).epoch, queues: [queueId], slots: 3 }
    }),
  )
  const claimed: string[] = []
  while (claimed.length < count) {
    const round = await Promise.all(agents.map((agent) => claim(db, agent)))
    expect(Math.max(...round.map((one) => one.length))).toBeLessThanOrEqual(3)
    expect(round.flat().length).toBeGreaterThan(0)
    claimed.push(...round.flat().map(({ id }) => id))
  }
  return claimed
}
