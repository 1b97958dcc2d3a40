import { readFileSync, readdirSync } from 'node:fs'

/** The pids of all live processes of this machine that have `mark` among their arguments. */
export function markedProcesses(mark: string): number[] {
  return readdirSync('/proc')
    .filter((one) => /^\d+$/.test(one))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(mark)
      } catch {
        // It ended meanwhile.
        return false
      }
    })
    .map(Number)
}
