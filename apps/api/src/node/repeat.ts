/** Calls `act` every `everyMs`, never two at once. `act` handles its own failures. Returns what ends it. */
export function repeat(everyMs: number, act: () => Promise<void>): () => void {
  let timer: NodeJS.Timeout
  let stopped = false
  const next = () => {
    timer = setTimeout(() => {
      void act().finally(() => {
        if (!stopped) next()
      })
    }, everyMs)
  }
  next()
  return () => {
    stopped = true
    clearTimeout(timer)
  }
}
