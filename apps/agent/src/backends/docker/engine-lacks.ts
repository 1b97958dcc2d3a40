import { Rejected } from '../backend.ts'
import type { EngineFacts } from './engine.ts'

/** In words, what every container is promised and this Engine can't give. */
export function engineLacks({ keeps, seccomp }: EngineFacts): string[] {
  const groups = Object.entries(keeps).filter(([, kept]) => !kept)
  return [
    ...groups.map(([name]) => `the host of the Docker Engine lacks the control group for ${name}`),
    ...(seccomp ? [] : ['the Docker Engine filters no system calls: its seccomp profile is off']),
  ]
}

/** @throws {Rejected} where a promised layer is missing (promise 8) */
export function refuseLacking(facts: EngineFacts): void {
  const lacking = engineLacks(facts)
  if (lacking.length > 0) throw new Rejected(lacking.join('; '))
}
