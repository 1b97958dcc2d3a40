import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startPostgres } from '../../infra/postgres.ts'
import { memoryOf } from '../chaos/memory-of.ts'
import { startApi } from '../system/harness/api.ts'
import { atOnce } from '../system/harness/at-once.ts'
import { until } from '../system/harness/until.ts'
import { largestShare, startFleet } from './fleet.ts'

// `npm run bench:fleet`: what a thousand agents cost an API, idle, with jobs, and when it comes back.

const { values } = parseArgs({
  options: {
    agents: { type: 'string', default: '1000' },
    jobs: { type: 'string', default: '5000' },
    /** How long they idle, and how long the API is away. */
    seconds: { type: 'string', default: '30' },
    away: { type: 'string', default: '0' },
  },
})
const agents = Number(values.agents)
const jobs = Number(values.jobs)
const seconds = Number(values.seconds)

await using closing = new AsyncDisposableStack()
const postgres = await startPostgres()
closing.defer(() => postgres.stop())
const api = await startApi({ database: { url: await postgres.createDatabase() } })
closing.defer(() => api.close())
const fleet = await startFleet({ api, agents, slots: 2, timeScale: 1 })
closing.defer(() => fleet.close())
tell('connected', spreadOf(await fleet.connected(180_000)))

const cpu = cpuSeconds()
await sleep(seconds * 1_000)
tell('idle', `${percent((cpuSeconds() - cpu) / seconds)} of a core, ${memory()}`)

const begun = performance.now()
await atOnce(32, jobs, (n) =>
  api.client.submitSurely({ executor: 'local_python_default', code: '' }, `key-${n}`),
)
await until('every job is done', done, { withinMs: 600_000, everyMs: 200 })
const tookSec = (performance.now() - begun) / 1_000
const twice = [...fleet.assigned.values()].filter((times) => times > 1).length
tell('jobs', `${jobs} in ${tookSec.toFixed(1)} s, ${twice} assigned more than once, ${memory()}`)

fleet.count()
await api.kill()
await sleep(Number(values.away) * 1_000)
await api.start()
tell('back after a restart', `${spreadOf(await fleet.connected(180_000))}, ${memory()}`)

async function done(): Promise<boolean> {
  const { total } = await api.client.executions('?outcome=succeeded&count=true&limit=1')
  return total === jobs
}

function spreadOf(times: readonly number[]): string {
  const last = times.at(-1) ?? 0
  const middle = times[Math.floor(times.length / 2)] ?? 0
  return `${times.length} of ${agents} agents, half of them after ${sec(middle)}, the last after ${sec(last)}, at most ${percent(largestShare(times, 1_000))} in one second`
}

/** Of user and system, by the API alone. In hundredths of a second there. */
function cpuSeconds(): number {
  const fields = readFileSync(`/proc/${api.process.pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

function memory(): string {
  return `API ${Math.round(memoryOf(api.process.pid) / 2 ** 20)} MiB`
}

function percent(part: number): string {
  return `${(100 * part).toFixed(1)} %`
}

function sec(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}

function tell(what: string, figures: string): void {
  console.log(`${what.padEnd(22)}${figures}`)
}
