import { expect, it, onTestFinished } from 'vitest'
import { agentForTest, apiForTest } from '../system/harness/for-test.ts'
import { startLink, type Way } from '../system/harness/link.ts'
import { until } from '../system/harness/until.ts'

const timeScale = 0.1
/** Places to cut at, each way. */
const samples = 5
/** Of one that names no job. */
const bytesOfARenewal = 44

/** Streams on both ways of a stream's life: in chunks of its own, and in the final message. */
const code = `
import sys, time
for n in range(4):
    print(n, 'x' * 2000, flush=True)
    print('error', n, file=sys.stderr, flush=True)
    time.sleep(0.15)
print('end')
`
const stdout = `${Array.from({ length: 4 }, (_, n) => `${n} ${'x'.repeat(2_000)}\n`).join('')}end\n`
const stderr = Array.from({ length: 4 }, (_, n) => `error ${n}\n`).join('')

it('NET-07: a connection that breaks after any byte, either way, costs and doubles nothing', async () => {
  const api = await apiForTest({ database: 'postgres', timeScale })
  const link = await startLink(api.port)
  onTestFinished(() => link.close())
  await agentForTest({ api, url: link.url, timeScale, slots: 1 })
  /** One execution in a session that begins with it. */
  const session = async (arm: () => void) => {
    link.cut()
    arm()
    link.restore()
    const { id } = await api.client.submit({ executor: 'local_python_default', code })
    const record = await api.client.final(id)
    expect(record).toMatchObject({ outcome: 'succeeded', attempt: 1, stdout, stderr })
    const recorded = { sent: link.sent, received: link.received }
    // A session that holds: after several that did not, the agent would wait for longer than its lease.
    let from = link.sent
    await until('two renewals have passed', () => {
      // The cut may come with one of them.
      from = Math.min(from, link.sent)
      return link.sent > from + bytesOfARenewal * 1.5
    })
    return recorded
  }
  const recorded = await session(() => {})
  let cuts = 0
  const cutAt = (way: Way, byte: number) => void link.cutAt(way, byte).then(() => (cuts += 1))

  for (const way of ['sent', 'received'] satisfies Way[])
    for (let sample = 0; sample < samples; sample++) {
      // Anywhere in its part: in the handshake, in the head of a frame, in its payload.
      const byte = 1 + Math.floor(((sample + Math.random()) * recorded[way]) / samples)
      await session(() => cutAt(way, byte)).catch((error: unknown) => {
        throw new Error(`cut after byte ${byte} of ${recorded[way]} ${way}`, { cause: error })
      })
    }
  // Sessions are not byte for byte alike: a short one ends before the last of them.
  expect(cuts).toBeGreaterThanOrEqual(2 * samples - 2)
})
