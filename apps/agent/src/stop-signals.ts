/**
 * Calls `first` when the process is asked to stop, and `again` when it is asked a second time in the same way: on
 * Ctrl-C a terminal signals the whole group, and the parent then passes on its own. A parent that spawned us with
 * an IPC channel and is gone counts as a request too.
 */
export function onStopSignals(first: () => void, again: () => void): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    let asked = false
    process.on(signal, () => {
      if (asked) again()
      else first()
      asked = true
    })
  }
  process.once('disconnect', first)
}
