import { isFinal, mayMove, status, statusOfOutcome, type Outcome, type Status } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from './database.ts'
import { newId } from './new-id.ts'
import { testingDatabases } from './testing-databases.ts'
import { openScene, type Scene } from './testing-scene.ts'

class RolledBack extends Error {}

describe.each(testingDatabases)('the rules of $name (DI-13)', ({ open }) => {
  let db: Database
  let scene: Scene
  beforeAll(async () => {
    db = await open()
    scene = await openScene(db)
  })
  afterAll(() => db.close())

  it('DI-13: allow exactly the legal moves, whatever SQL asks for', async () => {
    for (const from of status.options)
      for (const to of status.options.filter((one) => one !== from)) {
        const refusal = await attempt(async (tx) => {
          await tx.query(insertOf(scene, from))
          await tx.query(`update jobs set ${assignments(columnsOf(to))} where project = 'moves'`)
        })
        expect(`${from} → ${to}: ${refusal ?? 'allowed'}`).toBe(
          `${from} → ${to}: ${mayMove(from, to) ? 'allowed' : isFinal(from) ? 'final_jobs_never_change' : 'legal_moves'}`,
        )
      }
  })

  it('let a job that is done in parts be completed by them', async () => {
    const refusal = await attempt(async (tx) => {
      await tx.query(insertOf(scene, { ...columnsOf('locked'), type: "'runtime.install'", queue_id: '0' }))
      await tx.query(`update jobs set ${assignments(columnsOf('completed'))} where project = 'moves'`)
    })
    expect(refusal).toBeUndefined()
  })

  it('allow exactly the outcomes of each status', async () => {
    for (const one of status.options)
      for (const [outcome, of] of Object.entries(statusOfOutcome)) {
        const columns = { ...columnsOf(one), outcome: `'${outcome}'` }
        const refusal = await attempt((tx) => tx.query(insertOf(scene, columns)))
        expect(`${one}, ${outcome}: ${refusal}`).toBe(
          `${one}, ${outcome}: ${of === one ? undefined : 'jobs_possible'}`,
        )
      }
  })

  it('refuse any change of a final job', async () => {
    for (const one of status.options.filter(isFinal))
      for (const change of ['priority = 7', "error = 'x'", 'attempt = 1', "labels = '{}'", 'fence = 9']) {
        const refusal = await attempt(async (tx) => {
          await tx.query(insertOf(scene, one))
          await tx.query(`update jobs set ${change} where project = 'moves'`)
        })
        expect(refusal).toBe('final_jobs_never_change')
      }
  })

  it('refuse a change of a result', async () => {
    const claimed = await scene.submitAndClaim()
    await scene.finish(scene.finishItem(claimed))
    const refusal = await attempt((tx) =>
      tx.query(`update code_execution_results set exit_code = 1, success = false where id = $1`, [
        claimed.id,
      ]),
    )
    expect(refusal).toBe('results_never_change')
  })

  it('refuse a final execution without a result, and a result without a final execution', async () => {
    const { id } = await scene.submitOne()
    const end = `update jobs set ${assignments(columnsOf('canceled'))} where id = $1`
    await expect(db.query(end, [id])).rejects.toMatchObject({ code: '23514' })
    const result = `insert into code_execution_results (id, executor_type, executor_id, runtime_id, name, config_id, completed,
      success, outcome, out_of_memory, attempt, fence, stdout_bytes, stderr_bytes, stdout_truncated, stderr_truncated)
      values ($1, 'localhost', $1, 'python', 'x', $1, false, false, 'canceled', false, 0, 0, 0, 0, false, false)`
    await expect(db.query(result, [id])).rejects.toMatchObject({ code: '23514' })
    expect(await scene.read(id)).toMatchObject({ status: 'waiting' })
  })

  it.each([
    ['a final status without an outcome', { ...columnsOf('completed'), outcome: 'null' }],
    ['a final status without an end', { ...columnsOf('completed'), ended_at: 'null' }],
    ['an outcome of another status', { ...columnsOf('completed'), outcome: "'lost'" }],
    ['an outcome that does not exist', { ...columnsOf('completed'), outcome: "'done'" }],
    ['an outcome before the end', { ...columnsOf('running'), outcome: "'lost'" }],
    ['a held job without an agent', { ...columnsOf('running'), agent_id: 'null' }],
    ['a held job without an epoch', { ...columnsOf('assigned'), epoch: 'null' }],
    ['a held job without a fence', { ...columnsOf('canceling'), fence: '0' }],
    ['a running job without a start', { ...columnsOf('running'), started_at: 'null' }],
    ['a locked job that waits for nothing', { ...columnsOf('locked'), locked_by: 'null' }],
    ['a start before the submission', { ...columnsOf('running'), started_at: "now() - interval '1 day'" }],
    ['an end before the start', { ...columnsOf('completed'), started_at: "now() + interval '1 day'" }],
    ['more attempts than allowed', { ...columnsOf('running'), attempt: '2' }],
    ['a status that does not exist', { ...columnsOf('waiting'), status: "'paused'" }],
  ])('refuse %s', async (_what, columns) => {
    expect(await attempt((tx) => tx.query(insertOf(scene, columns)))).toMatch(/^jobs_/)
  })

  it.each([
    ['an exit code beside a signal', "exit_code = 1, signal = 'SIGKILL'"],
    [
      'success with an exit code other than 0',
      "exit_code = 1, outcome = 'succeeded', success = true, completed = true",
    ],
    ['success of what failed', 'success = true'],
    ['completion of what was lost', "outcome = 'lost', phase = null, completed = true"],
    ['what completed as not completed', 'completed = false'],
    ['a failure in no phase', 'phase = null'],
    ['memory that did not run out', "outcome = 'out_of_memory'"],
    ['an end before the start', 'start_time_ms = 2, end_time_ms = 1'],
    ['an end without a start', 'start_time_ms = null, end_time_ms = 1'],
    ['more bytes stored than written', "stdout = 'abc', stdout_bytes = 2"],
    ['a cut that nothing says', "stderr = 'abc', stderr_bytes = 4"],
  ])('refuse in a result %s', async (_what, change) => {
    const { id } = await scene.submitOne()
    const refusal = await attempt(async (tx) => {
      await tx.query('alter table code_execution_results disable trigger results_never_change')
      await tx.query(
        `insert into code_execution_results (id, executor_type, executor_id, runtime_id, name, config_id, completed,
         success, exit_code, outcome, phase, out_of_memory, attempt, fence, stdout_bytes, stderr_bytes, stdout_truncated, stderr_truncated)
         values ($1, 'localhost', $1, 'python', 'x', $1, true, false, 1, 'failed', 'run', false, 1, 1, 0, 0, false, false)`,
        [id],
      )
      await tx.query('set constraints all deferred')
      await tx.query(`update code_execution_results set ${change} where id = $1`, [id])
    })
    expect(refusal).toMatch(/^results_/)
  })

  /** The name of the rule that refuses; undefined when it is allowed. Leaves nothing behind. */
  async function attempt(act: (tx: Database) => Promise<unknown>): Promise<string | undefined> {
    try {
      await db.transaction(async (tx) => {
        await act(tx)
        throw new RolledBack()
      })
      return undefined
    } catch (error) {
      if (error instanceof RolledBack) return undefined
      const { code, constraint, constraint_name } = error as Record<string, string | undefined>
      if (code !== '23514') throw error
      return constraint ?? constraint_name
    }
  }
})

/** What a job has to have in a status, as SQL. */
function columnsOf(one: Status): Record<string, string> {
  const [outcome] = Object.entries(statusOfOutcome).find(([, of]) => of === one) ?? []
  const isHeld = ['assigned', 'running', 'canceling'].includes(one)
  return {
    status: `'${one}'`,
    outcome: outcome === undefined ? 'null' : `'${outcome as Outcome}'`,
    ended_at: isFinal(one) ? "now() + interval '1 hour'" : 'null',
    ...(isHeld && { agent_id: 'gen_random_uuid()', epoch: '1', fence: '3' }),
    ...(one === 'running' && { started_at: "now() + interval '1 minute'" }),
    ...(one === 'locked' && { locked_by: 'gen_random_uuid()' }),
  }
}

function insertOf(scene: Scene, given: Status | Record<string, string>): string {
  const columns: Record<string, string> = {
    id: `'${newId()}'`,
    type: "'code.execute'",
    project: "'moves'",
    key_id: 'gen_random_uuid()',
    queue_id: String(scene.queueId),
    executor_id: 'gen_random_uuid()',
    executor_name: "'x'",
    executor_type: "'localhost'",
    config_id: 'gen_random_uuid()',
    runtime: "'python'",
    limits: "'{}'",
    required_limits: "'[]'",
    labels: "'{}'",
    fence: '3',
    created_at: 'now()',
    ...(typeof given === 'string' ? columnsOf(given) : given),
  }
  return `insert into jobs (${Object.keys(columns).join(', ')}) values (${Object.values(columns).join(', ')})`
}

function assignments(columns: Record<string, string>): string {
  return Object.entries(columns)
    .map(([column, value]) => `${column} = ${value}`)
    .join(', ')
}
