import type { ExecutionRecord } from '@errand/shared'
import type { Client } from '../system/harness/client.ts'
import { programOf, type Problem } from './problems.ts'

/** Submits every problem at once, waits for all, and counts their outcomes. */
export async function runProblems(
  client: Client,
  executor: string,
  problems: readonly Problem[],
  body: Parameters<typeof programOf>[1],
): Promise<Partial<Record<NonNullable<ExecutionRecord['outcome']>, number>>> {
  const records = await Promise.all(
    problems.map((problem) =>
      client.run({ executor, code: programOf(problem, body), runtime: 'python', labels: { body } }),
    ),
  )
  const counts: Awaited<ReturnType<typeof runProblems>> = {}
  for (const { outcome } of records) if (outcome) counts[outcome] = (counts[outcome] ?? 0) + 1
  return counts
}
