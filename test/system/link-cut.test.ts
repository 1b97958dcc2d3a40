import { createHash } from 'node:crypto'
import { describe, expect, it, onTestFinished } from 'vitest'
import { followEvents } from './harness/event-reader.ts'
import { agentForTest, apiForTest, databases } from './harness/for-test.ts'
import { startLink } from './harness/link.ts'
import { until } from './harness/until.ts'

const timeScale = 0.2

/** Every byte value, in an order that no shift or repeat hides, on both streams, little by little. */
const floods = `
import os, time
state = 12345
for part in range(100):
    block = bytearray(range(256))
    for _ in range(32 * 256):
        state = (state * 1103515245 + 12345) % 2**31
        block.append(state >> 16 & 255)
    os.write(1, block)
    os.write(2, b'%d;' % part)
    time.sleep(0.1)
`
const expected = { stdout: floodOf(100), stderr: Array.from({ length: 100 }, (_, n) => `${n};`).join('') }

describe.each(databases)('a link that breaks in the middle of output, on %s', (database) => {
  it('costs no byte, doubles none and changes no result', async () => {
    const api = await apiForTest({ database, timeScale })
    const link = await startLink(api.port)
    onTestFinished(() => link.close())
    const agent = await agentForTest({ api, url: link.url, timeScale, slots: 2 })
    const { id } = await api.client.submit({ executor: 'local_python_default', code: floods })
    const followed = follow(api.client, id)

    // In a frame's head, in its payload, after one chunk and after several.
    for (const bytes of [1_000, 20_011, 70_003, 131_072]) {
      await until(`${bytes} bytes have passed`, () => link.sent >= bytes, { everyMs: 1 })
      const { epoch } = (await agent.record())!
      link.cut()
      link.restore()
      await until('it is connected again', async () => (await agent.record())!.epoch > epoch)
    }
    expect((await api.client.execution(id)).status).toBe('running')

    const record = await api.client.final(id)
    expect(record).toMatchObject({
      outcome: 'succeeded',
      attempt: 1,
      stdout_bytes: expected.stdout.length,
      stdout_truncated: false,
      stderr: expected.stderr,
    })
    const stdout = await api.client.output(id, 'stdout')
    expect(sha256(stdout)).toBe(sha256(expected.stdout))
    const events = await followed
    expect(sha256(events.stdout)).toBe(sha256(expected.stdout))
    expect(events.stderr.toString()).toBe(expected.stderr)
    expect(events.ends).toEqual([record])
  })
})

/** What a reader gets who is cut off himself, after every third event. */
async function follow(client: Parameters<typeof followEvents>[0], id: string) {
  const pieces = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  const ends: unknown[] = []
  for await (const { name, data } of followEvents(client, id, { breakAfter: 3 })) {
    if (name === 'end') ends.push(data)
    if (name === 'output') pieces[data.stream].push(Buffer.from(data.base64, 'base64'))
  }
  return { stdout: Buffer.concat(pieces.stdout), stderr: Buffer.concat(pieces.stderr), ends }
}

/** What `floods` writes to its standard output. */
function floodOf(parts: number): Buffer {
  const bytes: number[] = []
  let state = 12_345
  for (let part = 0; part < parts; part++) {
    for (let byte = 0; byte < 256; byte++) bytes.push(byte)
    for (let n = 0; n < 32 * 256; n++) {
      // In whole numbers: the product does not fit a double.
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff
      bytes.push((state >> 16) & 255)
    }
  }
  return Buffer.from(bytes)
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
