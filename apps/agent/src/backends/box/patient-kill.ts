import { killMessage } from '@errand/box'
import type { BoxConnection } from './box-connection.ts'

/** Ends the phase that runs in a box, with all that it started; and the box itself where that does not answer. */
export function patientKill(connection: BoxConnection): { kill: () => void; end: () => void } {
  let impatience: NodeJS.Timeout | undefined
  const end = (): void => clearTimeout(impatience)
  const kill = (): void => {
    connection.send(killMessage)
    end()
    impatience = setTimeout(() => connection.kill(), patienceMs)
  }
  return { kill, end }
}

/** A box answers in milliseconds; one that was stopped or starved does not. */
const patienceMs = 1_000
