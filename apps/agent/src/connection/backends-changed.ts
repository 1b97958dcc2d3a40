import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentReport } from '@errand/shared'

/**
 * Looks again and again at what the agent can do. Resolves to that once a backend has come or gone since `told`, such as
 * a Docker Engine that was started later; to undefined when `signal` is aborted before.
 */
export async function backendsChanged(
  told: AgentReport,
  report: () => Promise<AgentReport>,
  { everyMs, signal }: { everyMs: number; signal: AbortSignal },
): Promise<AgentReport | undefined> {
  const before = availableIn(told)
  while (await rested(everyMs, signal)) {
    const now = await report()
    if (availableIn(now) !== before) return signal.aborted ? undefined : now
  }
  return undefined
}

function rested(ms: number, signal: AbortSignal): Promise<boolean> {
  return sleep(ms, undefined, { signal, ref: false }).then(
    () => true,
    () => false,
  )
}

function availableIn({ backends }: AgentReport): string {
  const names = Object.entries(backends).flatMap(([type, backend]) => (backend.available ? [type] : []))
  return names.sort().join()
}
