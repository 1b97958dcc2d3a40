import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { startDockerEngine } from '../../infra/docker-engine.ts'
import { startPostgres } from '../../infra/postgres.ts'
import { startSshServer } from '../../infra/ssh-server.ts'
import { madeTestImages, testImages } from '../../infra/test-images.ts'
import { startAgent } from '../system/harness/agent.ts'
import { startApi, type ApiOptions } from '../system/harness/api.ts'
import { bareSpawn } from './bare-spawn.ts'
import { dockerRun } from './docker-run.ts'
import { measure, type Figures } from './measure.ts'
import { openSsh } from './open-ssh.ts'
import { tableOf, type Row } from './table.ts'
import { throughErrand } from './through-errand.ts'

// `npm run bench`: one run that has every figure beside its baseline: `--seconds` for each, `--rounds`, `--at-once` so many, and
// `--out` for the JSON.

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '3' },
    'at-once': { type: 'string', default: '1,2,4,8' },
    out: { type: 'string', default: join(import.meta.dirname, 'results') },
  },
})
const seconds = Number(values.seconds)
const atOnce = values['at-once'].split(',').map(Number)
const python = '/usr/bin/python3'
const code = 'print("hello")\n'
const expected = 'hello\n'
const engine = await startDockerEngine({ images: await madeTestImages() })
const sshServer = await startSshServer()
const config = JSON.stringify({
  code_executors: {
    local: {
      unsandboxed: { sandbox: 'none', code_executor_path: python },
      sandboxed: { sandbox: 'required', code_executor_path: python },
    },
    docker: { docker: { image: testImages.python, code_executor_path: python } },
    ssh: {
      ssh: {
        host: sshServer.host,
        port: sshServer.port,
        username: sshServer.username,
        private_key: sshServer.privateKey,
        host_key: sshServer.hostKey,
        code_executor_path: python,
      },
    },
  },
})

const postgres = await startPostgres({})
const errands = [await errandOn('PostgreSQL', { server: postgres.url }), await errandOn('PGlite', 'pglite')]
const program = join(mkdtempSync(join(tmpdir(), 'errand-bench-')), 'main.py')
writeFileSync(program, code)
const bare = { name: 'bare spawn', run: bareSpawn([python, program], expected) }
const docker = (...options: string[]) => ({
  name: ['docker run --rm', ...options].join(' '),
  run: dockerRun(engine.socketPath, testImages.python, options, [python, '-c', code], expected),
})
const ssh = await openSsh(sshServer, `${python} -c 'print("hello")'`, expected)
const throughAll = (executors: readonly string[]) => errands.flatMap((one) => one.subjects(executors))
/** Each is compared with its first. */
const sections = [
  { title: 'On this host', subjects: [bare, ...throughAll(['unsandboxed', 'sandboxed'])] },
  {
    title: 'In a container',
    subjects: [docker('--network', 'none'), docker(), ...throughAll(['docker'])],
  },
  { title: 'Over ssh', subjects: [...ssh.subjects, ...throughAll(['ssh'])] },
]
const subjects = sections.flatMap((one) => one.subjects)

// Every subject once a round, so that a machine whose speed drifts drifts for all of them; medians of the rounds.
const rounds: { name: string; figures: Figures }[] = []
for (let round = 0; round < Number(values.rounds); round++)
  for (const parallel of atOnce)
    for (const { name, run } of subjects) {
      rounds.push({ name, figures: await measure(parallel, seconds, run) })
      process.stderr.write('.')
    }
process.stderr.write('\n')
for (const errand of errands) await errand.close()
await ssh.close()
await sshServer.stop()
await engine.stop()
await postgres.stop()
rmSync(dirname(program), { recursive: true })

const rows: Row[] = atOnce.flatMap((parallel) =>
  subjects.map(({ name }) => ({ name, ...medians(rounds, name, parallel) })),
)
for (const section of sections) {
  const names = section.subjects.map(({ name }) => name)
  const own = rows.filter(({ name }) => names.includes(name))
  console.log(`### ${section.title}\n\n${tableOf(own, names[0]!)}\n`)
}
const commit = git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '-dirty')
const date = new Date().toISOString()
const machine = {
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  memory_gib: Math.round(totalmem() / 2 ** 30),
  kernel: release(),
  node: process.version,
}
mkdirSync(values.out, { recursive: true })
const file = join(values.out, `${date.slice(0, 10)}-${commit}.json`)
writeFileSync(
  file,
  `${JSON.stringify({ date, commit, machine, seconds, rounds: Number(values.rounds), rows }, null, 2)}\n`,
)
console.log(`kept in ${file}`)

async function errandOn(database: string, option: ApiOptions['database']) {
  const api = await startApi({ database: option, config, env: { ERRAND_CONFIG: 'config.yaml' } })
  const env = { DOCKER_HOST: `unix://${engine.socketPath}` }
  const agent = await startAgent({ api, policy: { allow_unsandboxed: true }, env })
  const clients: { close(): void }[] = []
  return {
    subjects: (executors: readonly string[]) =>
      executors.map((executor) => {
        const client = throughErrand(api.url, api.adminKey, executor, code, expected)
        clients.push(client)
        return { name: `Errand, ${executor}, ${database}`, run: client.run }
      }),
    async close() {
      for (const client of clients) client.close()
      await agent.close()
      await api.close()
    },
  }
}

function medians(all: typeof rounds, name: string, parallel: number): Figures {
  const own = all
    .filter((one) => one.name === name && one.figures.at_once === parallel)
    .map((one) => one.figures)
  const median = (key: keyof Figures) =>
    own.map((one) => one[key]).sort((a, b) => a - b)[Math.floor(own.length / 2)]!
  return {
    at_once: parallel,
    runs: median('runs'),
    per_second: median('per_second'),
    p50_ms: median('p50_ms'),
    p95_ms: median('p95_ms'),
  }
}

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).trim()
}
