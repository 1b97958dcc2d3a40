import { closeSync, readFileSync, readdirSync } from 'node:fs'

/**
 * Closes what this process was started with beyond its standard streams: programs would inherit it. Node sees to
 * that for low numbers only, up to the first that is free. What Node opens itself is marked close-on-exec.
 */
export function closeInheritedDescriptors(): void {
  for (const name of readdirSync('/proc/self/fd'))
    if (Number(name) > 2 && isInheritable(name)) closeSync(Number(name))
}

const closeOnExec = 0o2_000_000

function isInheritable(fd: string): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1]
    return flags !== undefined && (Number.parseInt(flags, 8) & closeOnExec) === 0
  } catch {
    // the one that listed the folder
    return false
  }
}
