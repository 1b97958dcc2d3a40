/**
 * A wait that is over after `ms`, on an abort of any of the signals, or when `end` is called, and then leaves no
 * timer or listener behind (`AbortSignal.any` would leave some on a signal that lives as long as the process).
 */
export function pause(
  ms: number,
  ...signals: readonly AbortSignal[]
): { over: Promise<void>; end: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  const end = () => {
    clearTimeout(timer)
    for (const signal of signals) signal.removeEventListener('abort', end)
    resolve()
  }
  const timer = setTimeout(end, ms)
  for (const signal of signals) signal.addEventListener('abort', end)
  if (signals.some((signal) => signal.aborted)) end()
  return { over: promise, end }
}
