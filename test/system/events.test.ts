import { describe, expect, it } from 'vitest'
import { readEvents, type ServerEvent } from './harness/event-reader.ts'
import { databases, sharedCircle } from './harness/for-test.ts'

/** Slow enough that each flush is an event of its own. */
const lines = 12
const code = `
import sys, time
for n in range(${lines}):
    print('line', n, flush=True)
    print('error', n, file=sys.stderr, flush=True)
    time.sleep(0.25)
`
const stdout = Array.from({ length: lines }, (_, n) => `line ${n}\n`).join('')
const stderr = Array.from({ length: lines }, (_, n) => `error ${n}\n`).join('')

describe.each(databases)('the events of an execution, on %s', (database) => {
  const circle = sharedCircle({ database })

  it('bring its output while it runs, in order, and end with its record', async () => {
    const { api } = circle
    const { id } = await api.client.submit({ executor: 'local_python_default', code })
    const events: ServerEvent[] = []
    let liveOutput = 0
    for await (const event of readEvents(api.client, id)) {
      events.push(event)
      if (event.name === 'output' && (await api.client.execution(id)).status === 'running') liveOutput += 1
    }
    expect(liveOutput).toBeGreaterThan(3)
    expect(outputOf(events)).toEqual({ stdout, stderr })
    const statuses = events.flatMap((one) => (one.name === 'status' ? [one.data.status] : []))
    expect(statuses).toEqual([...new Set(statuses)])
    expect(statuses).toContain('running')
    expect(new Set(events.map((one) => one.id)).size).toBe(events.length)
    expect(events.filter(({ name }) => name === 'end')).toHaveLength(1)
    expect(events.at(-1)).toMatchObject({ name: 'end', data: await api.client.execution(id) })

    // From any of them on, the rest comes again and nothing else; also when it has long ended.
    for (const [index, event] of events.entries()) {
      const rest: ServerEvent[] = []
      for await (const one of readEvents(api.client, id, event.id)) rest.push(one)
      const missing = (list: ServerEvent[]) => outputOf(list.slice(index + 1))
      expect({ after: index, output: outputOf(rest) }).toEqual({ after: index, output: missing(events) })
      expect(rest.at(-1)?.name).toBe(index === events.length - 1 ? undefined : 'end')
    }
  })

  it('resume exactly when their reader comes back while it runs', async () => {
    const { api } = circle
    const { id } = await api.client.submit({ executor: 'local_python_default', code })
    const events: ServerEvent[] = []
    let connections = 0
    while (events.at(-1)?.name !== 'end') {
      connections += 1
      for await (const event of readEvents(api.client, id, events.at(-1)?.id)) {
        events.push(event)
        if (event.name === 'output') break
      }
    }
    expect(connections).toBeGreaterThan(5)
    expect(outputOf(events)).toEqual({ stdout, stderr })
  })

  it('resume exactly when the API was killed meanwhile', async () => {
    const { api } = circle
    const { id } = await api.client.submit({ executor: 'local_python_default', code })
    const events: ServerEvent[] = []
    const read = async () => {
      for await (const event of readEvents(api.client, id, events.at(-1)?.id)) {
        events.push(event)
        if (events.length === 6) await api.kill()
      }
    }
    await expect(read()).rejects.toThrow('terminated')
    await api.start()
    await read()
    expect(outputOf(events)).toEqual({ stdout, stderr })
    expect(events.at(-1)).toMatchObject({ name: 'end', data: { outcome: 'succeeded', attempt: 1, stdout } })
  })

  it('are told to stay away by one who has had the end, and to nobody who may not see it', async () => {
    const { api } = circle
    const { id } = await api.client.run({ executor: 'local_python_default', code: 'print(1)' })
    const events: ServerEvent[] = []
    for await (const event of readEvents(api.client, id)) events.push(event)
    const path = `/executions/${id}/events`
    const ask = (last: string) => api.client.request('GET', path, undefined, { 'last-event-id': last })
    expect((await ask(events.at(-1)!.id)).status).toBe(204)
    expect((await ask('nonsense')).status).toBe(400)
    expect((await api.client.request('GET', `/executions/${crypto.randomUUID()}/events`)).status).toBe(404)
  })
})

/** What the output events say together; offsets must leave no gap. */
function outputOf(events: readonly ServerEvent[]): { stdout: string; stderr: string } {
  const text = { stdout: '', stderr: '' }
  const next: Record<string, number> = {}
  for (const { name, data } of events) {
    if (name !== 'output') continue
    const bytes = Buffer.from(data.base64, 'base64')
    expect(data.offset).toBe(next[data.stream] ?? data.offset)
    next[data.stream] = data.offset + bytes.length
    text[data.stream] += bytes.toString()
  }
  return text
}
