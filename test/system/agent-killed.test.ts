import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { databases, sharedCircle } from './harness/for-test.ts'
import { markedProcesses } from './harness/marked-processes.ts'
import { until } from './harness/until.ts'

const slots = 3

const executors = {
  code_executors: { local: { sandboxed: {}, plain: { sandbox: 'none' } } },
}

/** Runs until it is killed, and so does its child, in a session of its own that only the kernel knows. */
const longWithGrandchild = `
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', sys.argv[1]], start_new_session=True, close_fds=True)
time.sleep(600)
`

describe.each(databases)('an agent that is killed, on %s', (database) => {
  const config = JSON.stringify(executors)
  const circle = sharedCircle({ database, config, slots, policy: { allow_unsandboxed: true } })

  it.each(['sandboxed', 'plain'])(
    'CR-14: loses only what ran, and none of its %s processes survives its next start',
    async (executor) => {
      const { api, agent } = circle
      const mark = randomUUID()
      const long = await Promise.all(
        Array.from({ length: slots }, () =>
          api.client.submit({ executor, code: longWithGrandchild, args: [mark], timeout_sec: 300 }),
        ),
      )
      await until('all of them run', () => markedProcesses(mark).length === 2 * slots)
      await Promise.all(long.map(({ id }) => api.client.status(id, 'running')))
      const waiting = await Promise.all(
        Array.from({ length: 20 }, (_, n) => api.client.submit({ executor, code: `print(${n})` })),
      )

      await agent.kill()
      await agent.start()

      // The agent connects only once it has cleaned up.
      expect(markedProcesses(mark)).toEqual([])
      const ends = await Promise.all(long.map(({ id }) => api.client.final(id)))
      expect(ends.map(({ outcome }) => outcome)).toEqual(Array(slots).fill('lost'))
      for (const end of ends)
        expect(end).toMatchObject({ status: 'failed', completed: false, exit_code: null })
      const rest = await Promise.all(waiting.map(({ id }) => api.client.final(id)))
      expect(rest.map(({ stdout }) => stdout)).toEqual(Array.from({ length: 20 }, (_, n) => `${n}\n`))
    },
  )

  it('loses at most as many short ones as it has slots, and starts none twice', async () => {
    const { api, agent } = circle
    const ids = await Promise.all(
      Array.from({ length: 60 }, async (_, n) => {
        const { id } = await api.client.submit({ executor: 'sandboxed', code: `print(${n})` })
        return id
      }),
    )
    await api.client.final(ids[20]!)
    await agent.kill()
    await agent.start()
    const records = await Promise.all(ids.map((id) => api.client.final(id)))
    const lost = records.filter(({ outcome }) => outcome === 'lost')
    expect(lost.length).toBeLessThanOrEqual(slots)
    const rest = records.filter(({ outcome }) => outcome !== 'lost')
    expect(rest.map(({ outcome }) => outcome)).toEqual(Array(60 - lost.length).fill('succeeded'))
    expect(new Set(records.map(({ attempt }) => attempt))).toEqual(new Set([1]))
  })

  it('has everything tried again where the callers allowed it', async () => {
    const { api, agent } = circle
    const ids = await Promise.all(
      Array.from({ length: 9 }, async () => {
        const { id } = await api.client.submit({
          executor: 'sandboxed',
          code: 'import time; time.sleep(0.8); print("whole")',
          retry: { max_attempts: 3 },
        })
        return id
      }),
    )
    await until('some run', async () => (await api.client.executions('?status=running')).data.length > 0)
    await agent.kill()
    await agent.start()
    const records = await Promise.all(ids.map((id) => api.client.final(id)))
    expect(records.map(({ outcome, stdout }) => `${outcome} ${stdout}`)).toEqual(
      Array(9).fill('succeeded whole\n'),
    )
    expect(records.filter(({ attempt }) => attempt > 1).length).toBeGreaterThan(0)
    expect(records.filter(({ attempt }) => attempt > 1).length).toBeLessThanOrEqual(slots)
  })
})
