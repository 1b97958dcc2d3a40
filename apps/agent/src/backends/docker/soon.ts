import { setTimeout as sleep } from 'node:timers/promises'

/** Waits for an act, but not for long: on an Engine that does not answer it goes on by itself. */
export async function soon(act: Promise<unknown>, ms = 2_000): Promise<void> {
  await Promise.race([act, sleep(ms, undefined, { ref: false })])
}
