import { closeCode, scaleTime, type ApiMessage, type Held } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createAssignmentOf } from '../dispatch/assignment-of.ts'
import { createConfigOf } from '../dispatch/config-of.ts'
import { createDispatch } from '../dispatch/dispatch.ts'
import { createQuestions } from '../dispatch/questions.ts'
import { createSettleMaintenance } from '../dispatch/settle-maintenance.ts'
import { createIngest } from '../ingest/ingest.ts'
import { createLive } from '../live/live.ts'
import { createSecrets } from '../secrets/secrets.ts'
import { setDraining } from '../store/agents.ts'
import { cancel } from '../store/cancel.ts'
import { serverId } from '../store/control.ts'
import type { Database } from '../store/database.ts'
import { createEnrollmentToken, enroll } from '../store/enrollment-tokens.ts'
import { createMetrics } from '../metrics/metrics.ts'
import { createFinish } from '../store/finish.ts'
import { createRenew } from '../store/sessions.ts'
import { markRunning } from '../store/start.ts'
import { testingDatabases } from '../store/testing-databases.ts'
import { openScene, report, succeeded, totals } from '../store/testing-scene.ts'
import { openSession, type SessionParts } from './session.ts'
import { TestingAgent } from './testing-agent.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const localReport = { ...report, backends: { localhost: { available: true, isolation: null, missing: [] } } }
const text = (given: string) => new TextEncoder().encode(given)

describe.each(testingDatabases)('a session on $name', ({ open }) => {
  let db: Database
  beforeAll(async () => {
    db = await open()
  })
  afterAll(() => db.close())

  /** An API with its own dispatch, and an enrolled agent whose label only its own executions want. */
  async function stage() {
    const time = { ...scaleTime(1), handshakeMs: 300 }
    const scene = await openScene(db)
    const live = createLive()
    const secrets = await createSecrets(`test:${new Uint8Array(32).fill(1).toBase64()}`)
    const finish = createFinish(db, time)
    const assignmentOf = createAssignmentOf(createConfigOf(db, secrets), secrets)
    const dispatch = createDispatch({ db, finish, assignmentOf, log: silent })
    const settle = createSettleMaintenance({ db, live, dispatch, time, log: silent })
    const ingest = createIngest({ db, finish, live, dispatch, settle, log: silent })
    const questions = createQuestions({ linkOf: dispatch.linkOf, time })
    const metrics = createMetrics()
    const admission = { admit: () => undefined }
    const renew = createRenew(db, time)
    const common = { db, dispatch, questions, ingest, live, metrics, renew, log: silent, admission, time }
    const parts: SessionParts = { ...common, serverId: await serverId(db) }
    const { publicKey, privateKey } = (await crypto.subtle.generateKey('Ed25519', true, [
      'sign',
      'verify',
    ])) as { publicKey: CryptoKey; privateKey: CryptoKey }
    const { token } = await createEnrollmentToken(db, { labels: {}, expiresInSec: 60 })
    const enrolled = await enroll(db, {
      token,
      name: `agent-${scene.queueId}`,
      publicKey: new Uint8Array(await crypto.subtle.exportKey('raw', publicKey)).toBase64(),
    })
    if (typeof enrolled === 'string') throw new Error(enrolled)
    const proof = { agentId: enrolled.agentId, privateKey, report: localReport }

    /** Another replica, which hears nothing of this one. */
    function replica(): SessionParts {
      const dispatch = createDispatch({ db, finish, assignmentOf, log: silent })
      return { ...parts, dispatch }
    }
    function dial(at: SessionParts = parts): TestingAgent {
      const agent = new TestingAgent()
      agent.events = openSession(at, agent.socket)
      return agent
    }
    async function connect(held: Held[] = [], at: SessionParts = parts) {
      const agent = dial(at)
      await agent.hello(proof)
      const { epoch } = await agent.take('welcome')
      agent.send({ type: 'inventory', held })
      const { jobs } = await agent.take('reconciled')
      await dispatch.poll()
      return { agent, epoch, jobs }
    }
    async function submit() {
      const job = await scene.submitOne()
      dispatch.kick(job.queue_id)
      return job
    }
    /** What a counter or gauge says, with its labels. */
    async function counted(metric: 'handshakesRefused' | 'renewals' | 'reconciled' | 'sockets') {
      const { values } = await metrics[metric].get()
      return values.map(({ labels, value }) => [...Object.values(labels), value].join(' '))
    }
    return { scene, dispatch, live, proof, parts, replica, dial, connect, submit, counted }
  }

  const credits = (run: number) => ({ type: 'credits', run, ssh: 0, maintenance: 0 }) as const
  const finish = (of: { id: string; fence: number }, stdout = '') =>
    ({
      type: 'finish',
      id: of.id,
      fence: of.fence,
      inline: { stdout: stdout.length, stderr: 0 },
      result: { ...succeeded(), stdout: totals(text(stdout)) },
    }) as const

  it('assigns a job, takes its result and tells who listens', async () => {
    const { live, connect, submit, scene } = await stage()
    const { agent } = await connect()
    agent.send(credits(1))
    const { id } = await submit()
    const told = new Promise((resolve) => live.subscribe(id, resolve))
    const { job } = await agent.take('assign')
    expect(job).toMatchObject({ id, attempt: 0, attempts_left: false, request: { code: 'print(1)' } })
    agent.send(finish(job, 'hi\n'), text('hi\n'))
    expect(await agent.take('finished')).toMatchObject({ id, verdict: 'stored' })
    expect(await told).toMatchObject({ type: 'final', execution: { outcome: 'succeeded' } })
    const stored = await scene.read(id)
    expect(stored.status).toBe('completed')
    expect([...stored.stdout!]).toEqual([...text('hi\n')])
  })

  it('never assigns more than was granted', async () => {
    const { connect, submit, counted } = await stage()
    const { agent } = await connect()
    const first = await submit()
    await submit()
    agent.send(credits(1))
    const { job } = await agent.take('assign')
    expect(job.id).toBe(first.id)
    agent.send({ type: 'renew', sequence: 1, held: [{ id: job.id, fence: job.fence, state: 'accepted' }] })
    await agent.take('renewed')
    expect(await counted('renewals')).toEqual(['renewed 1'])
    expect(agent.received).toEqual([])
    agent.send(credits(1))
    await agent.take('assign')
  })

  it('refuses a signature over another nonce, an unknown agent and another protocol', async () => {
    const { dial, proof, counted } = await stage()
    for (const [given, code] of [
      [{ ...proof, nonce: 'AAAA' }, closeCode.refused],
      [{ ...proof, agentId: crypto.randomUUID() }, closeCode.refused],
      [{ ...proof, protocol: 2 }, closeCode.unsupportedVersion],
    ] as const) {
      const agent = dial()
      await agent.hello(given)
      expect(await agent.closing()).toMatchObject({ code })
    }
    expect(await counted('handshakesRefused')).toEqual(['identity 2', 'protocol 1'])
    expect(await counted('sockets')).toEqual(['0'])
  })

  it('closes who does not prove himself in time', async () => {
    const { dial, counted } = await stage()
    expect(await dial().closing()).toMatchObject({ code: closeCode.policyViolation })
    expect(await counted('handshakesRefused')).toEqual(['slow 1'])
  })

  it.each([
    ['credits before the inventory', () => JSON.stringify(credits(1))],
    ['an unknown message', () => '{"type":"nonsense"}'],
    ['no JSON', () => '{'],
    ['a binary frame shorter than it says', () => new Uint8Array([0, 0, 1, 0, 123])],
  ])('closes on %s', async (_, frame) => {
    const { dial, proof } = await stage()
    const agent = dial()
    await agent.hello(proof)
    await agent.take('welcome')
    agent.events.message(frame())
    expect(await agent.closing()).toMatchObject({ code: closeCode.protocolError })
  })

  it('lets the newest socket of an agent win; the older one can store nothing more', async () => {
    const { connect, submit, scene } = await stage()
    const { agent: older } = await connect()
    older.send(credits(1))
    const { id } = await submit()
    const { job } = await older.take('assign')
    const { agent: newer, jobs } = await connect([{ id, fence: job.fence, state: 'starting' }])
    expect(await older.closing()).toMatchObject({ code: closeCode.replaced })
    expect(jobs).toMatchObject([{ id, verdict: 'keep', cancel: false }])
    older.events.message(JSON.stringify(finish(job)))
    newer.send(finish(job))
    expect(await newer.take('finished')).toMatchObject({ verdict: 'stored' })
    newer.send(finish(job))
    expect(await newer.take('finished')).toMatchObject({ verdict: 'already' })
    expect(await scene.read(id)).toMatchObject({ outcome: 'succeeded' })
  })

  it('takes nothing from an older socket, also where its replica has not heard of the newer one (NET-17)', async () => {
    const { connect, submit, replica, scene } = await stage()
    const { agent: older } = await connect()
    older.send(credits(1))
    const { id } = await submit()
    const { job } = await older.take('assign')
    const { agent: newer } = await connect([{ id, fence: job.fence, state: 'starting' }], replica())
    const of = { id, fence: job.fence }
    older.send({ type: 'output', ...of, stream: 'stdout', offset: 0 }, text('old'))
    expect(await older.take('output_stored')).toMatchObject({ verdict: 'stale' })
    older.send(finish(job))
    expect(await older.take('finished')).toMatchObject({ verdict: 'stale' })
    older.send({ type: 'return', ...of, reason: 'no' })
    expect(await older.take('returned')).toMatchObject({ verdict: 'stale' })
    older.send({ type: 'renew', sequence: 1, held: [] })
    expect(await older.closing()).toMatchObject({ code: closeCode.replaced })
    newer.send(finish(job, 'new'), text('new'))
    expect(await newer.take('finished')).toMatchObject({ verdict: 'stored' })
    expect(new TextDecoder().decode((await scene.read(id)).stdout!)).toBe('new')
  })

  it('sends away whom it does not let in, before it asks the database, and says when to come back (NET-09)', async () => {
    const { parts, proof, dial } = await stage()
    const admission = { admit: () => 1_234 }
    const agent = dial({ ...parts, db: undefined as unknown as Database, admission })
    await agent.hello(proof)
    expect(await agent.closing()).toMatchObject({ code: closeCode.tryLater })
    expect(agent.received).toEqual([{ type: 'reconnect', reconnect_in_ms: 1_234 }])
  })

  it('gives what an agent never received to the next claim', async () => {
    const { connect, submit } = await stage()
    const { agent: first } = await connect()
    first.send(credits(1))
    const { id } = await submit()
    const { job } = await first.take('assign')
    const { agent } = await connect([])
    agent.send(credits(1))
    const { job: again } = await agent.take('assign')
    expect(again).toMatchObject({ id, attempt: 0 })
    expect(again.fence).toBeGreaterThan(job.fence)
  })

  it('sends again, with the same fence, what a renewal lists not though it was assigned long ago', async () => {
    const { connect, submit, proof } = await stage()
    const { agent } = await connect()
    agent.send(credits(2))
    await submit()
    const there = await submit()
    const jobs = [(await agent.take('assign')).job, (await agent.take('assign')).job]
    const renewed = async (...held: Held[]) => {
      agent.send({ type: 'renew', sequence: 1, held })
      await agent.take('renewed')
      // What follows it has been sent when the next is answered.
      agent.send({
        type: 'renew',
        sequence: 2,
        held: jobs.map(({ id, fence }) => ({ id, fence, state: 'accepted' })),
      })
      await agent.take('renewed')
      return agent.received.splice(0)
    }
    // They may be on their way still.
    expect(await renewed()).toEqual([])
    await db.query(`update jobs set assigned_at = now() - interval '11 seconds' where agent_id = $1`, [
      proof.agentId,
    ])
    const [known, again] = jobs.toSorted((one) => (one.id === there.id ? -1 : 1))
    const sent = await renewed({ id: known!.id, fence: known!.fence, state: 'accepted' })
    expect(sent).toEqual([{ type: 'assign', job: again }])
  })

  it('sends an assignment again, as it was, to the session that holds the claim, and to no other', async () => {
    const { connect, submit, dispatch, proof } = await stage()
    const { agent: first, epoch } = await connect()
    first.send(credits(1))
    const { id } = await submit()
    const { job } = await first.take('assign')
    // Its start counts as an attempt by now.
    await markRunning(db, { id, fence: job.fence, agentId: proof.agentId, epoch })
    const older = dispatch.linkOf(proof.agentId)!
    const { agent } = await connect([{ id, fence: job.fence, state: 'starting' }])
    const ask = async (given = agent, fence = job.fence) => {
      given.send({ type: 'reassign', id, fence })
      return given.take('reassigned')
    }
    // Its answer may have been lost.
    for (let n = 0; n < 2; n++) expect(await ask()).toEqual({ type: 'reassigned', id, fence: job.fence, job })
    await cancel(db, { id, project: null })
    expect(await ask()).toMatchObject({ job })

    const { agent: another } = await (await stage()).connect()
    expect(await ask(another)).toMatchObject({ job: null })
    expect(await ask(agent, job.fence + 1)).toMatchObject({ job: null })
    const toOlder: ApiMessage[] = []
    await dispatch.reassign({ ...older, send: (message) => toOlder.push(message) }, job)
    expect(toOlder).toMatchObject([{ type: 'reassigned', id, job: null }])
    agent.send(finish(job))
    await agent.take('finished')
    expect(await ask()).toMatchObject({ job: null })
  })

  it('says so when an assignment cannot be made again, and leaves the end to the agent', async () => {
    const { connect, submit, scene } = await stage()
    const { agent: first } = await connect()
    first.send(credits(1))
    const { id } = await submit()
    const { job } = await first.take('assign')
    const { agent } = await connect([{ id, fence: job.fence, state: 'starting' }])
    await db.query('update jobs set config_id = gen_random_uuid() where id = $1', [id])
    agent.send({ type: 'reassign', id, fence: job.fence })
    expect(await agent.take('reassigned')).toMatchObject({ job: null })
    expect(await scene.read(id)).toMatchObject({ status: 'assigned' })
  })

  it('sends a cancel after the assignment that it is about, and tells it again at a reconnect', async () => {
    const { connect, submit, dispatch, proof } = await stage()
    const { agent } = await connect()
    agent.send(credits(1))
    const { id } = await submit()
    const { job } = await agent.take('assign')
    const asked = await cancel(db, { id, project: null })
    expect(asked).toMatchObject({ kind: 'canceling', agentId: proof.agentId, fence: job.fence })
    dispatch.cancel(proof.agentId, id, job.fence)
    expect(await agent.take('cancel')).toMatchObject({ id, fence: job.fence })
    const { jobs } = await connect([{ id, fence: job.fence, state: 'starting' }])
    expect(jobs).toMatchObject([{ id, verdict: 'keep', cancel: true }])
  })

  it('stores output in order, answers where it stands, and publishes it', async () => {
    const { connect, submit, live } = await stage()
    const { agent } = await connect()
    agent.send(credits(1))
    const { id } = await submit()
    const { job } = await agent.take('assign')
    const seen: unknown[] = []
    live.subscribe(id, (event) => event.type === 'output' && seen.push([event.offset, event.bytes]))
    const { fence } = job
    agent.send({ type: 'output', id, fence, stream: 'stdout', offset: 0 }, text('abc'))
    agent.send({ type: 'output', id, fence, stream: 'stdout', offset: 3 }, text('def'))
    // a gap: refused, with the offset to go on from, and not told to anybody
    agent.send({ type: 'output', id, fence, stream: 'stdout', offset: 9 }, text('x'))
    const offsets = []
    for (let n = 0; n < 3; n++) offsets.push((await agent.take('output_stored')).next_offset)
    expect(offsets).toEqual([3, 6, 6])
    expect(seen).toEqual([
      [0, text('abc')],
      [3, text('def')],
    ])
  })

  it('takes back what an agent could not take, with its reason', async () => {
    const { connect, submit, scene } = await stage()
    const { agent } = await connect()
    agent.send(credits(1))
    const { id } = await submit()
    const { job } = await agent.take('assign')
    agent.send({ type: 'return', id, fence: job.fence, reason: 'the disk is full' })
    expect(await agent.take('returned')).toMatchObject({ verdict: 'stored' })
    expect(await scene.read(id)).toMatchObject({
      status: 'waiting',
      waiting_reason: 'the disk is full',
      attempt: 0,
    })
    // Later tests have agents, too.
    await cancel(db, { id, project: null })
  })

  it('ends what cannot be assigned, and gives the slot to the next', async () => {
    const { connect, submit, scene } = await stage()
    const { agent } = await connect()
    const broken = await submit()
    await db.query('update jobs set config_id = gen_random_uuid() where id = $1', [broken.id])
    const { id } = await submit()
    agent.send(credits(1))
    expect((await agent.take('assign')).job.id).toBe(id)
    expect(await scene.read(broken.id)).toMatchObject({
      outcome: 'infra_error',
      agent_id: expect.any(String),
    })
  })

  it('gives nothing to an agent that drains, until it resumes', async () => {
    const { connect, submit, dispatch, proof, scene } = await stage()
    const { agent } = await connect()
    await setDraining(db, proof.agentId, true)
    agent.send(credits(1))
    const { id } = await submit()
    agent.send({ type: 'renew', sequence: 1, held: [] })
    await agent.take('renewed')
    expect(await scene.read(id)).toMatchObject({ status: 'waiting' })
    await setDraining(db, proof.agentId, false)
    dispatch.kick()
    expect((await agent.take('assign')).job.id).toBe(id)
  })
})
