import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentReport } from '@errand/shared'

/**
 * Looks again and again at what the agent can do. Resolves to true once a backend has come or gone since `told`, such as
 * a Docker Engine that was started later; to false when `signal` is aborted before.
 */
export async function backendsChanged(
  told: AgentReport,
  report: () => Promise<AgentReport>,
  { everyMs, signal }: { everyMs: number; signal: AbortSignal },
): Promise<boolean> {
  const before = availableIn(told)
  while (await rested(everyMs, signal)) if (availableIn(await report()) !== before) return !signal.aborted
  return false
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
