import { isFinal } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { sharedCircle } from './harness/for-test.ts'

const hello = JSON.stringify({ steps: [{ stdout: 'hello\n' }, { exit: 0 }] })

describe('a job that its agent dies of each time', () => {
  const circle = sharedCircle({ database: 'postgres', fake: true, slots: 1 })

  // Where the agent dies · how often the job may be tried · how often it counts as tried
  it.each([
    ['accepted', 1, 0, 'its agent died before it had started it'],
    ['starting', 10, 3, 'the agent died while it ran'],
  ])('at %s is our failure after 3 times, and the others are served (CR-36)', async (...given) => {
    const [point, maxAttempts, attempt, words] = given
    const { agent, api } = circle
    await agent.stop()
    const submit = (more: object = {}) =>
      api.client.submit({ executor: 'local_python_default', code: hello, ...more })
    const poison = await submit({ priority: 1, retry: { max_attempts: maxAttempts } })
    const others = await Promise.all([submit(), submit()])

    const end = api.client.final(poison.id)
    for (let deaths = 0; deaths < 3; deaths++) {
      expect(isFinal((await api.client.execution(poison.id)).status)).toBe(false)
      agent.launch({ ERRAND_CRASH_AT: `${point}/${poison.id}` })
      expect(await agent.process.ended()).toBe('SIGKILL')
    }
    await agent.start({ ERRAND_CRASH_AT: `${point}/${poison.id}` })
    expect(await end).toMatchObject({
      outcome: 'infra_error',
      status: 'failed',
      attempt,
      error: expect.stringMatching(new RegExp(`^${words}.*; this was the case 3 times`)) as string,
    })
    for (const { id } of others) expect(await api.client.final(id)).toMatchObject({ outcome: 'succeeded' })
  })
})
