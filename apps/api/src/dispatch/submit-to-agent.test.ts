import { type ApiMessage, localhostExecutor, scaleTime } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { createIngest } from '../ingest/ingest.ts'
import { createLive } from '../live/live.ts'
import { createSecrets } from '../secrets/secrets.ts'
import { cancel } from '../store/cancel.ts'
import { Unavailable, type Database } from '../store/database.ts'
import { createExecutor } from '../store/executors.ts'
import { createFinish } from '../store/finish.ts'
import { assignedButNotHeld } from '../store/missing.ts'
import { createQueueFor } from '../store/queues.ts'
import { createSubmit, type Submit } from '../store/submit.ts'
import { testingDatabases } from '../store/testing-databases.ts'
import { openScene, report, succeeded } from '../store/testing-scene.ts'
import type { AgentLink } from './agent-link.ts'
import { createAssignmentOf } from './assignment-of.ts'
import { createConfigOf } from './config-of.ts'
import { createDispatch } from './dispatch.ts'
import { createSubmitToAgent } from './submit-to-agent.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }

describe.each(testingDatabases)('submitToAgent on $name', ({ open }) => {
  let opened: Database
  beforeAll(async () => {
    opened = await open()
  })
  afterAll(() => opened.close())

  /** An agent in session with a real dispatch and ingest, whose statements are counted. */
  async function stage(wrap: (submit: Submit) => Submit = (submit) => submit) {
    for (const { id } of await opened.query<{ id: string }>("select id from jobs where status = 'waiting'"))
      await cancel(opened, { id, project: null })
    const scene = await openScene(opened)
    const statements: string[] = []
    const db: Database = {
      ...opened,
      query(text, params) {
        statements.push(text)
        return opened.query(text, params)
      },
    }
    const finish = createFinish(db, scaleTime(1))
    const secrets = await createSecrets(`test:${new Uint8Array(32).fill(1).toBase64()}`)
    const assignmentOf = createAssignmentOf(createConfigOf(db, secrets), secrets)
    const dispatch = createDispatch({ db, finish, log: silent, assignmentOf })
    const settle = () => Promise.resolve()
    const ingest = createIngest({ db, finish, live: createLive(), dispatch, settle, log: silent })
    const submit = createSubmitToAgent(wrap(createSubmit(db)), dispatch)
    const sent: ApiMessage[] = []
    const connect = (epoch: number): AgentLink => {
      const link: AgentLink = {
        agentId: scene.agentId,
        epoch,
        labels: {},
        report: { ...report, backends: { localhost: { available: true, isolation: null, missing: [] } } },
        send: (message) => void sent.push(message),
        close: () => dispatch.leave(link),
      }
      dispatch.join(link)
      return link
    }
    const link = connect(scene.epoch)
    await dispatch.poll()
    const grant = (run: number) => dispatch.grant(link, { run, ssh: 0, maintenance: 0 })
    /** Grants, and waits until the agent is known to have nothing to claim. */
    const free = async (run: number) => {
      grant(run)
      await vi.waitFor(
        () => {
          const reserved = dispatch.reserve('nothing', scene.queueId)
          reserved?.settle(undefined)
          expect(reserved).toBeDefined()
        },
        { interval: 1 },
      )
    }
    const assigned = () => sent.flatMap((one) => (one.type === 'assign' ? [one.job] : []))
    const assignment = async (n: number) => {
      await vi.waitFor(() => expect(assigned()).toHaveLength(n), { interval: 1 })
      return assigned()[n - 1]!
    }
    const end = async ({ id, fence }: { id: string; fence: number }) => {
      const inline = { stdout: 0, stderr: 0 }
      const given = { type: 'finish', id, fence, inline, result: succeeded() } as const
      await ingest.finish(link, given, new Uint8Array())
      expect(sent.at(-1)).toMatchObject({ type: 'finished', id, verdict: 'stored' })
    }
    return {
      scene,
      secrets,
      statements,
      dispatch,
      submit,
      sent,
      assigned,
      assignment,
      end,
      link,
      connect,
      grant,
      free,
    }
  }

  it('costs an execution two statements where a slot is free, three where it waits for one', async () => {
    const { scene, statements, submit, assignment, end, grant, free } = await stage()
    await free(1)
    await submit(scene.item())
    await end(await assignment(1))
    grant(1)
    statements.length = 0
    await submit(scene.item())
    await end(await assignment(2))
    expect(statements).toHaveLength(2)
    statements.length = 0
    await submit(scene.item())
    grant(1)
    await end(await assignment(3))
    expect(statements).toHaveLength(3)
  })

  it('does not ask for work at a grant when nothing waits', async () => {
    const { statements, grant, free, dispatch } = await stage()
    await free(1)
    statements.length = 0
    grant(1)
    expect(statements).toEqual([])
    await dispatch.poll()
    await vi.waitFor(() => expect(statements.filter((one) => one.includes('for share'))).toHaveLength(1))
  })

  it('never assigns more than was granted, however claims and submits meet', async () => {
    const { scene, submit, dispatch, assigned, assignment, end, grant } = await stage()
    grant(3)
    const items = Array.from({ length: 40 }, () => scene.item())
    const submitted = items.map((item) => {
      dispatch.kick()
      return submit(item)
    })
    await Promise.all(submitted)
    await assignment(3)
    await dispatch.poll()
    expect(assigned()).toHaveLength(3)
    for (let n = 0; n < items.length; n++) {
      await end(assigned()[n]!)
      grant(1)
      await assignment(Math.min(items.length, n + 4))
    }
    expect(new Set(assigned().map(({ id }) => id)).size).toBe(items.length)
  })

  it('gives the slot to what waits when the store does not take the offer', async () => {
    const { scene, submit, assignment, grant, free } = await stage()
    await free(1)
    await submit(scene.item())
    await assignment(1)
    // Behind the dispatch's back, as another replica would
    const { id } = await scene.submitOne()
    grant(1)
    const submitted = await submit(scene.item())
    expect(submitted).toMatchObject({ kind: 'stored', job: { status: 'waiting' } })
    expect(await assignment(2)).toMatchObject({ id })
    grant(1)
    if (submitted.kind !== 'stored') throw new Error(submitted.kind)
    expect(await assignment(3)).toMatchObject({ id: submitted.job.id })
  })

  it('keeps the slot of a submit that failed, and a lost answer costs no job', async () => {
    let fails = true
    const { scene, submit, assigned, assignment, free } = await stage((store) => async (item) => {
      const submitted = await store(item)
      if (fails) throw new Unavailable(new Error('gone after commit'))
      return submitted
    })
    await free(1)
    const lost = scene.item()
    await expect(submit(lost)).rejects.toThrow(Unavailable)
    expect(assigned()).toEqual([])
    const { agentId, epoch } = scene
    const missing = await assignedButNotHeld(opened, { agentId, epoch, held: [], olderThanMs: 0 })
    expect(missing).toMatchObject([{ id: lost.id, fence: expect.any(Number) }])
    fails = false
    const next = scene.item()
    await submit(next)
    expect(await assignment(1)).toMatchObject({ id: next.id })
  })

  it('loses nothing when the agent has a newer session before the submit is stored', async () => {
    const before = Promise.withResolvers<void>()
    const { scene, submit, sent, assignment, dispatch, connect, free } = await stage(
      (store) => async (item) => {
        await before.promise
        return store(item)
      },
    )
    await free(1)
    const item = scene.item()
    const submitting = submit(item)
    const link = connect(await scene.reconnect())
    before.resolve()
    expect(await submitting).toMatchObject({ kind: 'stored', job: { status: 'waiting' } })
    expect(sent).toEqual([])
    dispatch.grant(link, { run: 1, ssh: 0, maintenance: 0 })
    expect(await assignment(1)).toMatchObject({ id: item.id })
  })

  it('lets no cancel overtake the assignment', async () => {
    const { scene, submit, dispatch, sent, free } = await stage((store) => async (item) => {
      const submitted = await store(item)
      if (submitted.kind !== 'stored') throw new Error(submitted.kind)
      dispatch.cancel(scene.agentId, item.id, submitted.job.fence)
      return submitted
    })
    await free(1)
    const item = scene.item()
    await submit(item)
    await vi.waitFor(() => expect(sent).toHaveLength(2))
    expect(sent).toMatchObject([
      { type: 'assign', job: { id: item.id } },
      { type: 'cancel', id: item.id },
    ])
  })

  it('leaves it to a claim where its executor has a max_concurrency', async () => {
    const { scene, submit, secrets, dispatch, assignment, free } = await stage()
    const settings = {
      executor_type: 'localhost' as const,
      ...localhostExecutor.parse({ max_concurrency: 1 }),
    }
    const executor = await createExecutor(opened, secrets, { name: `few-${scene.queueId}`, settings })
    if (typeof executor === 'string') throw new Error(executor)
    const queueId = await createQueueFor(opened)(executor.executor_id, {})
    await dispatch.poll()
    await free(2)
    for (const n of [1, 2]) {
      const submitted = await submit(scene.item({}, { executor, queueId }))
      expect(submitted).toMatchObject({ kind: 'stored', job: { status: 'waiting' } })
      if (n === 1) await assignment(1)
    }
    const other = await submit(scene.item())
    expect(other).toMatchObject({ kind: 'stored', job: { queue_id: scene.queueId } })
    await assignment(2)
  })
})
