import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/**
 * A loopback port that was free a moment ago. From below the range that Linux takes for outgoing connections: one of
 * those could take it while a server that is being restarted is down.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_768)
    if (await isFree(port)) return port
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}
