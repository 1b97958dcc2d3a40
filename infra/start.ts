import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ConfigRefused } from '@errand/host/config/config-refused'
import { loadConfig, type Config } from '@errand/host/config/load-config'
import type { Agent } from '@errand/shared'
import { Child } from './child.ts'
import { firstExecution, firstExecutor } from './first-execution.ts'
import { enrolledId, localAgentDir, prepareLocalAgent } from './local-agent.ts'
import { Rest } from './rest.ts'

// `npm start`: the API, one agent on this machine and a first execution; then it serves until it is told to stop.

const root = resolve(import.meta.dirname, '..')
/** Exit code of an agent whom the API refuses: it was revoked. The API goes on. */
const refused = 3
let api: Child | undefined
let agent: Child | undefined
const stopping = new AbortController()

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void stop(0))

try {
  await start(loadConfig({ env: process.env }))
} catch (error) {
  if (!stopping.signal.aborted)
    console.error(error instanceof ConfigRefused ? `errand: ${error.message}` : error)
  await stop(1)
}

async function start(config: Config): Promise<void> {
  const { settings, executors } = config
  const database = settings.databaseUrl ? 'PostgreSQL' : 'its own embedded database'
  console.log(`Errand starts, with ${database} and the data in ${settings.dataDir}`)
  api = launch('the API', 'apps/api/src/main.ts', process.env)
  const message = (await api.message()) as { listening: number } | undefined
  if (!message) return
  const keyFile = join(settings.dataDir, 'admin-key')
  const key = settings.adminKey ?? readFileSync(keyFile, 'utf8').trim()
  const rest = new Rest(localUrl(config, message.listening), key)
  const executor = firstExecutor(executors)
  if (settings.localAgent && (await startAgent(config, rest))) {
    console.log(executor ? await firstExecution(rest, executor) : 'No executor for a first execution here.')
  }
  if (!stopping.signal.aborted)
    console.log(whereItIs(rest.url, executor?.name, settings.adminKey ? undefined : keyFile))
}

/** Whether it is online. */
async function startAgent(config: Config, rest: Rest): Promise<boolean> {
  const dir = localAgentDir(config.settings.dataDir)
  const env = await prepareLocalAgent(config, rest)
  if (!env) {
    console.log(`The agent of ${dir} was revoked, or belongs to another database: it is not started.
To enrol a new one on this machine, remove that directory and start again.`)
    return false
  }
  const started = launch('the agent', 'apps/agent/src/main.ts', env)
  agent = started
  const deadline = performance.now() + 60_000
  while (started.alive && !stopping.signal.aborted) {
    const id = enrolledId(dir)
    const known = id === undefined ? undefined : await rest.get<Agent>(`/agents/${id}`)
    if (known?.status === 'online') return true
    if (performance.now() > deadline) throw new Error('the agent did not come online within a minute')
    await sleep(50)
  }
  return false
}

/** A child that ends unasked ends everything, with its exit code. */
function launch(name: string, main: string, env: NodeJS.ProcessEnv): Child {
  const child = new Child(name, join(root, main), env)
  void child.ended.then((end) => {
    if (stopping.signal.aborted) return
    if (child === agent && end === refused) {
      console.error('errand: the API refuses the agent of this machine; the API goes on without it')
      return
    }
    console.error(`errand: ${name} has ended (${typeof end === 'number' ? `exit code ${end}` : end})`)
    void stop(typeof end === 'number' && end > 0 ? end : 1)
  })
  return child
}

/** The agent first, which delivers what it has; a second request ends its jobs at once. */
async function stop(exitCode: number): Promise<void> {
  agent?.signal()
  if (stopping.signal.aborted) return
  stopping.abort()
  await agent?.ended
  api?.signal()
  await api?.ended
  process.exit(exitCode)
}

/** Where this machine reaches the API. */
function localUrl({ settings }: Config, port: number): string {
  // The certificate is for the public name.
  if (settings.tls && settings.publicUrl) return settings.publicUrl
  const anyAddress = ['0.0.0.0', '::', ''].includes(settings.host)
  const host = anyAddress ? '127.0.0.1' : settings.host
  return `${settings.tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${port}`
}

function whereItIs(url: string, executor = 'local_python_default', keyFile?: string): string {
  const key = keyFile === undefined ? '$ERRAND_ADMIN_KEY' : `$(cat '${keyFile.replaceAll("'", `'\\''`)}')`
  return `
Errand serves at ${url}
The admin key is in ${keyFile ?? 'ERRAND_ADMIN_KEY'}
Try it:

curl -H "Authorization: Bearer ${key}" -H 'Content-Type: application/json' -H 'Prefer: wait=10' \\
  -d '{"executor": "${executor}", "code": "print(6 * 7)"}' ${url}/executions

Ctrl-C stops it.
`
}
