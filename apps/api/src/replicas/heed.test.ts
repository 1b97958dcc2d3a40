import { closeCode } from '@errand/shared'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { openTestApp, type TestApp } from '../routes/test-app.ts'
import { patchAgent } from '../store/agents.ts'
import { cancel } from '../store/cancel.ts'
import { revokeAgent } from '../store/revoke-agent.ts'
import { openSession } from '../store/sessions.ts'
import { createHeed } from './heed.ts'
import type { Hint } from './hint.ts'

let test: TestApp
let heed: (hint: Hint) => void
beforeAll(async () => {
  test = await openTestApp()
  const { db, live, dispatch, log } = test.parts
  heed = createHeed({
    db,
    live,
    dispatch,
    log,
    askAnywhere: { question: () => Promise.resolve(), answer() {} },
  })
})
afterAll(() => test?.close())

const session = (agentId: string) =>
  openSession(test.parts.db, { agentId, bootId: 'b', spoolId: 's', report: report(), leaseMs: 60_000 })
const report = () => ({
  hostname: 'h',
  version: '1',
  platform: 'p',
  backends: {},
  runtimes: {},
  slots: { run: 1, ssh: 0, maintenance: 0 },
})

it('finds in the store what was done to agents elsewhere, by a hint and without one', async () => {
  const { db, time } = test.parts
  await test.request('POST', '/executors', {
    body: { name: 'moved', executor_type: 'localhost', agent_labels: { zone: 'moved' } },
  })
  const { id } = await test.submit({ executor: 'moved' })
  const [moved, replaced, revoked, untouched] = [
    await test.connectAgent(1),
    await test.connectAgent(0),
    await test.connectAgent(0),
    await test.connectAgent(0),
  ]
  const again = await test.submit({ executor: 'moved' })
  await cancel(db, { id, project: null })
  await patchAgent(db, moved.agentId, { labels: { zone: 'moved' } })
  await session(replaced.agentId)
  await revokeAgent(db, revoked.agentId, time)
  heed({ type: 'agent', agent_id: replaced.agentId })
  await expect.poll(() => replaced.closes).toEqual([closeCode.replaced])
  expect(revoked.closes).toEqual([])
  heed({ type: 'all' })
  await expect.poll(() => revoked.closes).toEqual([closeCode.refused])
  await expect.poll(() => moved.assigned.map((job) => job.id)).toEqual([again.id])
  expect([moved, untouched].flatMap(({ closes }) => closes)).toEqual([])
  await moved.finish(moved.assigned[0]!)
  for (const agent of [moved, untouched]) agent.leave()
})

it('passes a cancel on, also one whose hint was lost', async () => {
  const { db } = test.parts
  const agent = await test.connectAgent(2)
  const submitted = [await test.submit(), await test.submit()]
  await expect.poll(() => agent.assigned.length).toBe(2)
  for (const { id } of submitted) await cancel(db, { id, project: null })
  const [told, lost] = agent.assigned as [(typeof agent.assigned)[0], (typeof agent.assigned)[0]]
  heed({ type: 'cancel', agent_id: agent.agentId, id: told.id, fence: told.fence })
  const cancels = () => agent.sent.flatMap((one) => (one.type === 'cancel' ? [one.id] : []))
  await expect.poll(cancels).toEqual([told.id])
  heed({ type: 'all' })
  await expect.poll(cancels).toContain(lost.id)
  for (const job of [told, lost]) await agent.finish(job, { result: { outcome: 'canceled' } })
  agent.leave()
})
