import { readFileSync, readdirSync } from 'node:fs'

/** Command lines of live processes that have this variable in their environment. */
export function processesWith(name: string, value: string): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
      if (!environment.includes(`${name}=${value}`)) return []
      return [`${pid}: ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`]
    } catch {
      // no process, gone, or not ours to read
      return []
    }
  })
}

/** Command lines of live processes that name this. */
export function processesNaming(text: string): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      return command.includes(text) ? [`${pid}: ${command}`] : []
    } catch {
      // no process, or gone
      return []
    }
  })
}
