import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { isFinal } from '@errand/shared'
import { expect, it, onTestFinished } from 'vitest'
import type { Api } from '../system/harness/api.ts'
import { readEvents } from '../system/harness/event-reader.ts'
import { sharedCircle } from '../system/harness/for-test.ts'
import { checkHistory } from './check-history.ts'
import { memoryOf } from './memory-of.ts'
import { toRecord, toState, type Observation } from './history.ts'

const executor = 'local'
const config = JSON.stringify({ code_executors: { local: { local: { output_limit_kb: 64 * 1024 } } } })
const circle = sharedCircle({ database: 'postgres', config, slots: 1 })
const pollers = 20
const code = `
import sys, time
for n in range(20):
    print(n, 'x' * 3000, flush=True)
    time.sleep(0.15)
`
const stdout = Array.from({ length: 20 }, (_, n) => `${n} ${'x'.repeat(3_000)}\n`).join('')

/** All byte values, NUL and invalid UTF-8 among them; and characters that lie across every 64 KiB. */
const bytes = Buffer.from(Array.from({ length: 256 * 4_096 }, (_, n) => n % 256))
const text = `x${'é'.repeat(100_000)}`

it('DI-02: any byte comes back as it was written, and no character is harmed where pieces meet', async () => {
  const { api } = circle
  const { id } = await api.client.submit({
    executor,
    code: `import sys; sys.stdout.buffer.write(bytes(range(256)) * 4096); sys.stderr.buffer.write(('x' + 'é' * 100000).encode())`,
  })
  const record = await api.client.final(id)
  expect(record).toMatchObject({ outcome: 'succeeded', stdout_bytes: bytes.length, stdout_truncated: false })
  expect((await api.client.output(id, 'stdout')).equals(bytes)).toBe(true)
  expect(record.stderr === text).toBe(true)
})

it('DI-07: twenty clients that look all the time see states in order, and read output without a gap', async () => {
  const { api } = circle
  const labels = { key: 'key' }
  const { id } = await api.client.submit({ executor, code, labels })
  const observations: Observation[] = [
    { kind: 'submit', client: 'submitter', key: 'key', attempts: 1, answer: { id } },
  ]

  const poll = async (client: string): Promise<string> => {
    let text = ''
    for (let ended = false; ;) {
      const range = { range: `bytes=${text.length}-` }
      const response = await api.client.request('GET', `/executions/${id}/stdout`, undefined, range)
      const part = await response.text()
      // Nothing new: 416.
      expect([206, 416]).toContain(response.status)
      if (response.status === 206) text += part
      if (ended) return text
      const record = await api.client.execution(id)
      observations.push({ kind: 'read', client, id, state: toState(record) })
      ended = isFinal(record.status)
      await sleep(50)
    }
  }
  const texts = await Promise.all(Array.from({ length: pollers }, (_, n) => poll(`client ${n}`)))

  expect(new Set(texts)).toEqual(new Set([stdout]))
  const { data } = await api.client.executions('?label=key=key')
  const { recovered: _none, ...wrong } = checkHistory({
    observations,
    starts: [],
    records: data.map(toRecord),
  })
  expect(wrong).toEqual({ lost: [], unexpected: [], duplicated: [], changed: [], backwards: [] })
  expect(observations.length).toBeGreaterThan(2 * pollers)
})

it('NET-10: fifty readers that take nothing hold up no job and fill no memory, and go on where they were', async () => {
  const { api } = circle
  const mebibytes = 24
  const flood = {
    executor,
    code: `import sys\nfor n in range(${mebibytes}): sys.stdout.write('x' * 1024 * 1024)`,
  }
  // What one flood takes that nobody reads.
  await api.client.run(flood)
  const before = memoryOf(api.process.pid)
  const { id } = await api.client.submit(flood)
  const sockets = Array.from({ length: 50 }, () => slowReader(api, id))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
  })
  const record = await api.client.final(id)
  expect(record).toMatchObject({ outcome: 'succeeded', stdout_bytes: mebibytes * 1024 * 1024 })
  // All of it for each of them would be more than a gibibyte.
  expect(memoryOf(api.process.pid) - before).toBeLessThan(128 * 1024 * 1024)
  // None was dropped yet; whoever reads on gets what follows.
  const [socket] = sockets
  let text = ''
  for await (const bytes of socket!) if ((text += String(bytes)).length > 1024 * 1024) break
  const last = text
    .split('\n')
    .findLast((line) => line.startsWith('id: '))!
    .slice('id: '.length)
  const first = await readEvents(api.client, id, last).next()
  expect(first.value).toMatchObject({ name: 'output', data: { stream: 'stdout' } })
})

/** A browser's connection whose tab sleeps. */
function slowReader({ port, adminKey }: Api, id: string): Socket {
  const socket = connect(port, '127.0.0.1').pause()
  socket.write(
    `GET /executions/${id}/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${adminKey}\r\n\r\n`,
  )
  return socket
}
