import { setTimeout as sleep } from 'node:timers/promises'
import { isAway } from './engine-fault.ts'

/** Asks an Engine that is away again and again: what ran there may go on when it is back. @throws its fault after `ms` */
export async function whileAway<T>(ms: number, act: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + ms
  for (;;) {
    try {
      return await act()
    } catch (error) {
      if (!isAway(error) || performance.now() > deadline) throw error
      await sleep(againMs, undefined, { ref: false })
    }
  }
}

const againMs = 200
