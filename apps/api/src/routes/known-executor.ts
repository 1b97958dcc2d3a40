import type { Parts } from '../app.ts'
import { Problem } from '../http/problem.ts'
import { invalid } from '../http/validate.ts'
import { type ExecutorRow, listExecutors } from '../store/executors.ts'
import type { ExecutorCache } from './executor-cache.ts'

/** The executor that a submission names at `pointer`: 404 with the names there are, 422 when it is disabled. */
export async function knownExecutor(
  { db }: Pick<Parts, 'db'>,
  executors: ExecutorCache,
  name: string,
  pointer: string,
): Promise<{ executor: ExecutorRow; queueId: number }> {
  const found = await executors.find(name)
  if (found === undefined) throw unknownExecutor(await listExecutors(db), name, pointer)
  if (!found.executor.settings.enabled)
    throw invalid([{ pointer, detail: `names ${name}, which is disabled` }])
  return found
}

function unknownExecutor(all: readonly ExecutorRow[], name: string, pointer: string): Problem {
  const names = all.filter(({ settings }) => settings.enabled).map((one) => one.name)
  const detail = names.length === 0 ? 'There are no executors.' : `There are: ${names.join(', ')}.`
  return new Problem('unknown_executor', `There is no executor ${name}. ${detail}`, {
    errors: [{ pointer, detail: `must be one of: ${names.join(', ')}` }],
  })
}
