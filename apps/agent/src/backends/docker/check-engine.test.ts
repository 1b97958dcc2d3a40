import { dockerExecutor } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import type { Check } from '../backend.ts'
import { checkEngine } from './check-engine.ts'
import type { Engine, EngineFacts } from './engine.ts'

const facts: EngineFacts = {
  version: '28.0.0',
  arch: 'x64',
  cpus: 2,
  seccomp: true,
  rootDir: '/',
  keeps: { memory: true, cpus: true, pids: true },
}
const never = new Promise<never>(() => {})

/** What is found of an Engine, where the check is to end while something is asked that is never answered. */
function found(engine: Partial<Engine>, given: object = {}, minFreeMb = 0) {
  const settings = dockerExecutor.parse({ image: 'one', ...given })
  const asked = {
    executor: { executor_type: 'docker', name: 'one', settings },
    runtime: 'python',
    limits: { timeout_sec: 30, output_limit_kb: 1_024 },
    required_limits: [],
    signal: AbortSignal.timeout(20),
  } as unknown as Check
  return checkEngine(asked, {
    engine: { factsNow: async () => facts, isLocal: true, ...engine } as Engine,
    minFreeMb,
    find: () => never,
  })
}

it.each([
  ['connection', [], { factsNow: () => never }],
  ['image', ['connection', 'sandbox', 'limits', 'disk'], { image: () => never }],
  [
    'interpreter',
    ['connection', 'sandbox', 'limits', 'disk', 'image'],
    { image: async () => ({ id: 'sha256:1', env: {}, volumes: [], digests: [], bytes: 1 }) },
  ],
])('tells what it found when there is no more time for %s', async (last, before, engine) => {
  const { runtime_id, findings } = await found(engine)
  expect(runtime_id).toBeNull()
  expect(findings.map(({ what }) => what)).toEqual([...before, last])
  expect(findings.at(-1)).toMatchObject({ ok: false, detail: 'there was no answer in time' })
})

it("does not look at its own host's disk for an Engine that is elsewhere", async () => {
  const { findings } = await found({ isLocal: false, image: () => never })
  expect(findings.find(({ what }) => what === 'disk')!.detail).toContain("not this host's to look at")
})

describe('of an image that is not there', () => {
  const absent = { image: async () => undefined }
  const imageFinding = async (...given: Parameters<typeof found>) =>
    (await found(...given)).findings.find(({ what }) => what === 'image')

  it.each(['missing', 'always'])('says that executions wait for it, under pull_policy %s', async (policy) => {
    expect(await imageFinding(absent, { pull_policy: policy })).toEqual({
      what: 'image',
      ok: true,
      detail: 'one is not there yet: the first execution waits for its download',
    })
  })

  it('says what to do under pull_policy never', async () => {
    expect(await imageFinding(absent, { pull_policy: 'never' })).toMatchObject({
      ok: false,
      detail: 'one is not there, and pull_policy is never',
      advice: "run on the agent's host: docker pull one",
    })
  })

  it('says that there is no room for it', async () => {
    expect(await imageFinding(absent, {}, 10 ** 9)).toMatchObject({
      ok: false,
      detail: expect.stringMatching(/^one is not there: no room for the image: \d+ MB are free in \/,/),
    })
  })
})
