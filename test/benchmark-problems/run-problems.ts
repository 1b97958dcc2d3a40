import type { ExecutionRecord } from '@errand/shared'
import type { Client } from '../system/harness/client.ts'
import { programOf, type Problem } from './problems.ts'

/** More than any test machine runs at once, and few enough that waiting for them all costs nothing. */
const atOnce = 16

/** Runs every problem, some at once, and counts their outcomes. */
export async function runProblems(
  client: Client,
  executor: string,
  problems: readonly Problem[],
  body: Parameters<typeof programOf>[1],
): Promise<Partial<Record<NonNullable<ExecutionRecord['outcome']>, number>>> {
  const counts: Awaited<ReturnType<typeof runProblems>> = {}
  const left = problems.values()
  const runLeft = async () => {
    for (const problem of left) {
      const code = programOf(problem, body)
      const { outcome } = await client.run({ executor, code, runtime: 'python', labels: { body } })
      if (outcome) counts[outcome] = (counts[outcome] ?? 0) + 1
    }
  }
  await Promise.all(Array.from({ length: atOnce }, runLeft))
  return counts
}
