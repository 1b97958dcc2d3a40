import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { appendOutput } from './append-output.ts'
import { cancel } from './cancel.ts'
import type { Database } from './database.ts'
import { wakeRetries } from './expire.ts'
import { createFinish } from './finish.ts'
import { readExecution } from './read-execution.ts'
import { markRunning } from './start.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, totals, type Scene } from './testing-scene.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const everyByte = Uint8Array.from({ length: 512 }, (_, n) => n % 256)

describe.each(testingDatabases)('finish on $name', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
  })
  beforeEach(async () => {
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  it('stores a result with every byte of its output, and answers with the row that is stored', async () => {
    const claimed = await scene.submitAndClaim()
    const compile = {
      exit_code: 0,
      signal: null,
      duration_sec: 1,
      stdout: 'a\0b\uD800',
      stderr: '',
      truncated: false,
    }
    const { verdict, execution } = await scene.finish(
      scene.finishItem(claimed, { compile }, { stdout: everyByte, stderr: everyByte.toReversed() }),
    )
    expect(verdict).toBe('stored')
    const stored = await readExecution(db, { id: claimed.id, project: scene.project })
    expect(new Uint8Array(stored!.stdout!)).toEqual(everyByte)
    expect(new Uint8Array(stored!.stderr!)).toEqual(everyByte.toReversed())
    expect({ ...execution, stdout: null, stderr: null }).toEqual({ ...stored, stdout: null, stderr: null })
    expect(execution!.stdout).toEqual(everyByte)
    expect(execution).toMatchObject({
      status: 'completed',
      outcome: 'succeeded',
      attempt: 1,
      compile: { stdout: 'a\uFFFDb\uFFFD' },
      timings: { prepare_ms: 1, run_ms: 20 },
    })
    expect(execution!.timings!.queued_ms).toBeGreaterThanOrEqual(0)
  })

  it('DI-06: answers a repeat with already, and anything else about that claim with stale', async () => {
    const claimed = await scene.submitAndClaim()
    const item = scene.finishItem(claimed)
    const first = await scene.finish(item)
    expect(await scene.finish(item)).toEqual({ verdict: 'already' })
    const other = { ...item.result, outcome: 'failed' as const, exit_code: 1 }
    expect(await scene.finish({ ...item, result: other })).toEqual({ verdict: 'stale' })
    expect(await scene.read(claimed.id)).toEqual({
      ...first.execution,
      stdout: expect.anything(),
      stderr: expect.anything(),
    })
  })

  it('accepts one result of many that come at once', async () => {
    const claimed = await scene.submitAndClaim()
    const replicas = Array.from({ length: 5 }, () => createFinish(db, scene.time))
    const answers = await Promise.all(
      replicas.flatMap((finish, n) => {
        const result = n % 2 ? { outcome: 'failed' as const, exit_code: 1 } : {}
        return Array.from({ length: 5 }, () => finish(scene.finishItem(claimed, result)))
      }),
    )
    expect(answers.filter(({ verdict }) => verdict === 'stored')).toHaveLength(1)
  })

  it('refuses another fence, epoch or agent, and what nobody has claimed (DI-06)', async () => {
    const claimed = await scene.submitAndClaim()
    const item = scene.finishItem(claimed)
    for (const stale of [
      { fence: item.fence - 1 },
      { fence: item.fence + 1 },
      { epoch: item.epoch + 1 },
      { agentId: item.id },
    ])
      expect(await scene.finish({ ...item, ...stale })).toEqual({ verdict: 'stale' })
    expect(await scene.read(claimed.id)).toMatchObject({ status: 'assigned' })
    const { id } = await scene.submitOne()
    for (const fence of [0, item.fence])
      expect(await scene.finish(scene.finishItem({ id, fence }))).toEqual({ verdict: 'stale' })
    expect(await scene.read(id)).toMatchObject({ status: 'waiting' })
  })

  it('settles a whole batch in one statement, each on its own', async () => {
    const claims = await Promise.all(Array.from({ length: 40 }, () => scene.submitOne())).then(() =>
      scene.claim(40),
    )
    const answers = await Promise.all(
      claims.map((one, n) =>
        scene.finish(
          scene.finishItem(one, n % 4 === 0 ? { outcome: 'failed', exit_code: n } : {}, {
            stdout: bytes(`${n}`),
          }),
        ),
      ),
    )
    for (const [n, { verdict, execution }] of answers.entries()) {
      expect(verdict).toBe('stored')
      expect(execution).toMatchObject({
        id: claims[n]!.id,
        exit_code: n % 4 === 0 ? n : 0,
        stdout: bytes(`${n}`),
      })
    }
  })

  it('puts what was sent before and the rest together, and refuses what does not add up', async () => {
    const claimed = await scene.submitAndClaim()
    const append = (offset: number, text: string) =>
      appendOutput(db, { ...scene.claimOf(claimed), stream: 'stdout', offset, bytes: bytes(text) })
    await markRunning(db, scene.claimOf(claimed))
    await append(0, 'abc')
    await append(3, 'def')
    const whole = scene.finishItem(claimed, {}, { stdout: bytes('abcdefghi'), sentStdout: 6 })
    const incomplete = { verdict: 'incomplete', offsets: { stdout: 6, stderr: 0 } }
    expect(await scene.finish({ ...whole, inlineStdout: bytes('gh') })).toEqual(incomplete)
    expect(await scene.finish({ ...whole, inlineStdout: bytes('ghX') })).toEqual(incomplete)
    expect(await scene.finish({ ...whole, inlineStdout: bytes('efghi') })).toEqual(incomplete)
    expect(await scene.read(claimed.id)).toMatchObject({ status: 'running' })
    const { verdict, execution } = await scene.finish(whole)
    expect(verdict).toBe('stored')
    expect(execution).toMatchObject({ stdout: null, stdout_bytes: 9, attempt: 1 })
    const stored = await readExecution(db, { id: claimed.id, project: null })
    expect(new TextDecoder().decode(stored!.stdout!)).toBe('abcdefghi')
    expect(await append(9, 'j')).toMatchObject({ verdict: 'stale' })
  })

  it('takes no more than the limit, though the sums be right', async () => {
    const claimed = await scene.submitAndClaim({}, { limits: { timeout_sec: 1, output_limit_kb: 1 } })
    expect(
      await scene.finish(scene.finishItem(claimed, {}, { stdout: new Uint8Array(1_025) })),
    ).toMatchObject({ verdict: 'incomplete' })
    expect(
      await scene.finish(scene.finishItem(claimed, {}, { stdout: new Uint8Array(1_024) })),
    ).toMatchObject({ verdict: 'stored' })
  })

  it('keeps created ≤ start ≤ end ≤ stored whatever the agent says', async () => {
    for (const [start_time_ms, end_time_ms] of [
      [0, 1],
      [Date.now() + 1e9, Date.now() - 1e9],
      [Date.now() + 1e9, Date.now() + 2e9],
      [Date.now(), null],
      [-5, 5e300],
    ]) {
      const claimed = await scene.submitAndClaim()
      const { execution } = await scene.finish(scene.finishItem(claimed, { start_time_ms, end_time_ms }))
      const { created_at, ended_at } = execution!
      const times = [
        created_at.getTime(),
        execution!.start_time_ms!,
        execution!.end_time_ms!,
        ended_at!.getTime(),
      ]
      expect(times).toEqual(times.toSorted((a, b) => a - b))
    }
  })

  it.each([
    ['succeeded without exit code 0', { exit_code: 1 }],
    ['failed in no phase', { outcome: 'failed', phase: null, exit_code: 1 }],
    ['a signal beside an exit code', { signal: 'SIGKILL' }],
    ['an exit code beyond 32 bits', { outcome: 'failed', exit_code: 2 ** 40 }],
    ['an end without a start', { start_time_ms: null }],
    ['output that is truncated and whole', { stdout: { ...totals(bytes('')), truncated: true } }],
  ] as const)('makes our own failure of %s', async (_what, result) => {
    const claimed = await scene.submitAndClaim()
    const { verdict, execution } = await scene.finish(scene.finishItem(claimed, result))
    expect(verdict).toBe('stored')
    expect(execution).toMatchObject({
      status: 'failed',
      outcome: 'infra_error',
      exit_code: null,
      error: expect.stringContaining('impossible'),
    })
  })

  describe('of what may be retried', () => {
    it('tries our own failure again, later, until the attempts are used up', async () => {
      const { id } = await scene.submitOne({ retry: { max_attempts: 2 } })
      const [first] = await scene.claim(1)
      await markRunning(db, scene.claimOf(first!))
      await appendOutput(db, { ...scene.claimOf(first!), stream: 'stdout', offset: 0, bytes: bytes('first') })
      const broken = { outcome: 'infra_error', phase: null, exit_code: null, error: 'broken' } as const
      const failed = scene.finishItem(first!, broken, { stdout: bytes('first'), sentStdout: 5 })
      const { verdict, execution } = await scene.finish(failed)
      expect({ verdict, execution }).toMatchObject({
        verdict: 'stored',
        execution: { status: 'retrying', attempt: 1, outcome: null, agent_id: null, error: 'broken' },
      })
      expect(execution!.not_before!.getTime()).toBeLessThanOrEqual(Date.now() + scene.time.retryMinMs + 1_000)
      expect(await scene.finish(failed)).toEqual({ verdict: 'stale' })
      expect(await scene.claim(1)).toEqual([])
      await expect.poll(() => wakeRetries(db)).toMatchObject([{ id, status: 'waiting' }])
      const [second] = await scene.claim(1)
      expect(second!.fence).toBeGreaterThan(first!.fence)
      expect((await scene.finish(scene.finishItem(second!, broken))).execution).toMatchObject({
        status: 'failed',
        outcome: 'infra_error',
        attempt: 2,
        stdout_bytes: 0,
      })
    })

    it('never tries again what user code did, nor what was asked to end', async () => {
      for (const result of [
        { outcome: 'failed', exit_code: 1 },
        { outcome: 'timed_out', exit_code: null },
        { outcome: 'rejected', exit_code: null },
      ] as const) {
        const claimed = await scene.submitAndClaim({ retry: { max_attempts: 5 } })
        expect((await scene.finish(scene.finishItem(claimed, result))).execution).toMatchObject({
          outcome: result.outcome,
        })
      }
      const claimed = await scene.submitAndClaim({ retry: { max_attempts: 5 } })
      await cancel(db, { id: claimed.id, project: null })
      const { execution } = await scene.finish(
        scene.finishItem(claimed, { outcome: 'infra_error', exit_code: null }),
      )
      expect(execution).toMatchObject({ status: 'failed', outcome: 'infra_error' })
    })
  })

  it('gives up on a job that its agents call lost three times', async () => {
    const { id } = await scene.submitOne({ retry: { max_attempts: 10 } })
    const lost = { outcome: 'lost', exit_code: null, error: 'the agent died while it ran' } as const
    for (const status of ['retrying', 'retrying', 'failed']) {
      await db.query(
        `update jobs set status = 'waiting', not_before = null where id = $1 and status = 'retrying'`,
        [id],
      )
      const [claimed] = await scene.claim(1)
      const item = scene.finishItem(claimed!, lost)
      expect((await scene.finish(item)).execution!.status).toBe(status)
    }
    expect(await scene.read(id)).toMatchObject({ outcome: 'infra_error', attempt: 3 })
    expect((await scene.read(id)).error).toContain('3 times')
  })

  it('lets whatever ended a canceling job first be its outcome', async () => {
    for (const result of [{}, { outcome: 'canceled', exit_code: null } as const]) {
      const claimed = await scene.submitAndClaim()
      await cancel(db, { id: claimed.id, project: null })
      const { execution } = await scene.finish(scene.finishItem(claimed, result))
      expect(execution).toMatchObject({ outcome: result.outcome ?? 'succeeded' })
    }
  })
})
