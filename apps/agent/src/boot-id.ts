import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'

/**
 * Changes with each boot of this host. Where the kernel tells none it changes with each start of the agent: then the
 * API trusts the spool less than it could, never more.
 */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return randomUUID()
  }
}
