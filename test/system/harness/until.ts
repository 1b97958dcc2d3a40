import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Asks again until the answer is neither undefined nor false, and returns it.
 *
 * @throws after `withinMs`, naming what did not come to be and the last answer or error
 */
export async function until<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  { withinMs = 60_000, everyMs = 20 } = {},
): Promise<T> {
  const deadline = Date.now() + withinMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined && answer !== false) return answer
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`)
    await sleep(everyMs)
  }
}
