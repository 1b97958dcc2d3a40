import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isFinal, scaleTime, type Page, type ExecutionSummary } from '@errand/shared'
import { openNetworkNamespace } from '../../infra/network-namespace.ts'
import { startPostgres } from '../../infra/postgres.ts'
import { startAgent } from '../system/harness/agent.ts'
import { startApi } from '../system/harness/api.ts'
import { startLink } from '../system/harness/link.ts'
import { until } from '../system/harness/until.ts'
import { checkHistory, type Findings } from './check-history.ts'
import { startDatabaseProxy } from './database-proxy.ts'
import { toRecord, type Start } from './history.ts'
import { between, oneOf, type Circle, type Nemesis } from './nemesis.ts'
import { recordClient, type Recorder } from './record-client.ts'

export interface HistoryOptions {
  submissions: number
  clients: number
  /** For how long they submit, evenly. */
  seconds: number
  nemeses: readonly Nemesis[]
  /** Of all waits of API and agents. */
  timeScale: number
  /** The same seed draws the same faults and programs; how they meet is another matter. */
  seed: number
}

export interface HistoryReport {
  findings: Findings
  /** How many records there are in the end, and with which outcome. */
  outcomes: Record<string, number>
  submitted: number
  /** Of those, answered with an id. */
  acknowledged: number
  retried: number
  /** Jobs that agents held when they were killed or kept from renewing: no more may be `lost`. */
  heldAtStrikes: number
  strikes: Record<string, number>
  /** What the processes printed, for whoever looks into a finding. */
  logs: string
}

/**
 * Clients submit and watch while faults of every kind strike one after the other; then all is healed, everything comes to
 * its end, and the history is judged.
 */
export async function runHistory(options: HistoryOptions): Promise<HistoryReport> {
  const { clients, seconds, nemeses, timeScale, seed } = options
  await using closing = new AsyncDisposableStack()
  const dir = mkdtempSync(join(tmpdir(), 'errand-history-'))
  closing.defer(() => rmSync(dir, { recursive: true, force: true }))
  const random = randomOf(seed)
  const circle = await openCircle(closing, timeScale, random)
  const witness = newWitness(dir)
  const recorder: Recorder = {
    // The API makes a new client at each start.
    client: () => circle.api.client,
    witness,
    random: randomOf(seed + 1),
    observations: [],
    next: 0,
    submissions: options.submissions,
    everyMs: (seconds * 1_000 * clients) / options.submissions,
    healed: new AbortController(),
  }
  const submitted = new AbortController()
  const watching = Promise.all(
    Array.from({ length: clients }, (_, n) => recordClient(recorder, `client ${n}`)),
  ).finally(() => submitted.abort())
  const strikes: Record<string, number> = {}
  let heldAtStrikes = 0
  while (!submitted.signal.aborted) {
    const nemesis = oneOf(nemeses, random)
    heldAtStrikes += await nemesis.strike(circle)
    strikes[nemesis.name] = (strikes[nemesis.name] ?? 0) + 1
    await sleep(between(0, circle.time.beatEveryMs, random))
  }
  const following = await watching
  const records = await until(
    'everything is final',
    async () => {
      const all = await readAll(circle)
      return all.every(({ status }) => isFinal(status)) && all
    },
    { withinMs: 300_000, everyMs: 200 },
  )
  recorder.healed.abort()
  await Promise.all(following.flat())
  const history = {
    observations: recorder.observations,
    starts: readWitness(witness),
    records: records.map(toRecord),
  }
  return {
    findings: checkHistory(history),
    outcomes: countBy(records, ({ outcome }) => outcome ?? 'none'),
    submitted: recorder.next,
    acknowledged: new Set(
      recorder.observations.flatMap((one) =>
        one.kind === 'submit' && typeof one.answer === 'object' ? [one.key] : [],
      ),
    ).size,
    retried: records.filter(({ attempt }) => attempt > 1).length,
    heldAtStrikes,
    strikes,
    logs: [circle.api, ...circle.agents].map(({ log }) => log.slice(-30_000)).join('\n--- next\n'),
  }
}

async function openCircle(
  closing: AsyncDisposableStack,
  timeScale: number,
  random: () => number,
): Promise<Circle> {
  const postgres = await startPostgres({ fsync: false })
  closing.defer(() => postgres.stop())
  const proxy = await startDatabaseProxy(await postgres.createDatabase())
  closing.defer(() => proxy.close())
  const network = await openNetworkNamespace()
  closing.defer(() => network.close())
  const api = await startApi({
    database: { url: proxy.url },
    timeScale,
    // The network namespace reaches it by another address than its clients.
    env: { ERRAND_HOST: '0.0.0.0' },
    config: JSON.stringify({
      code_executors: { local: { plain: { sandbox: 'none', code_executor_path: '/usr/bin/python3' } } },
    }),
  })
  closing.defer(() => api.close())
  const link = await startLink(api.port)
  closing.defer(() => link.close())
  const common = { api, timeScale, slots: 3, policy: { allow_unsandboxed: true } }
  const first = await startAgent({ ...common, name: 'linked', url: link.url })
  closing.defer(() => first.close())
  const url = `http://${network.hostAddress}:${api.port}`
  const second = await startAgent({ ...common, name: 'networked', url, within: network.within })
  closing.defer(() => second.close())
  return { postgres, proxy, api, link, network, agents: [first, second], time: scaleTime(timeScale), random }
}

/** A file that programs of any user may append to. */
function newWitness(dir: string): string {
  chmodSync(dir, 0o755)
  const path = join(dir, 'witness')
  writeFileSync(path, '')
  chmodSync(path, 0o666)
  return path
}

function readWitness(path: string): Start[] {
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
  return lines.map((line) => {
    const [key = '', pid] = line.split(' ')
    return { key, pid: Number(pid) }
  })
}

async function readAll({ api }: Circle): Promise<ExecutionSummary[]> {
  const all: ExecutionSummary[] = []
  for (let cursor: string | null = ''; cursor !== null;) {
    const page: Page<ExecutionSummary> = await api.client.executions(
      `?limit=200${cursor && `&cursor=${cursor}`}`,
    )
    all.push(...page.data)
    cursor = page.next_cursor
  }
  return all
}

function countBy<T>(all: readonly T[], of: (one: T) => string): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(all, of)].map(([key, some]) => [key, some.length]))
}

/** Mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
