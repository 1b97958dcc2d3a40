import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Agent as AgentRecord, AgentPolicy } from '@errand/shared'
import type { Client } from './client.ts'
import { RunningProcess } from './running-process.ts'
import { until } from './until.ts'

export interface AgentOptions {
  /** Where it enrols; `url` where absent. */
  api: { url: string; client: Client }
  /** Where it dials, when a link stands between it and the API. */
  url?: string
  /** The backend that is scripted by the job, in place of localhost. */
  fake?: boolean
  slots?: number
  policy?: Partial<AgentPolicy>
  name?: string
  labels?: Record<string, string>
  /** The agent's directory; a temporary one where absent, which goes when it closes. */
  dir?: string
  timeScale?: number
  env?: NodeJS.ProcessEnv
  /** A command that becomes the agent, such as one that takes something of the host away from it. */
  within?: readonly string[]
}

/** A real agent, enrolled and online, with `kill`, `stop` and `restart` on the same directory. */
export class TestAgent {
  readonly dir: string
  readonly name: string
  id = ''
  process!: RunningProcess
  readonly #client: () => Client
  readonly #env: NodeJS.ProcessEnv
  readonly #temporary: boolean
  readonly #within: readonly string[]
  #log = ''

  constructor(given: {
    dir: string
    name: string
    temporary: boolean
    client: () => Client
    env: NodeJS.ProcessEnv
    within: readonly string[]
  }) {
    this.dir = given.dir
    this.name = given.name
    this.#temporary = given.temporary
    this.#client = given.client
    this.#env = given.env
    this.#within = given.within
  }

  get log(): string {
    return `${this.#log}${this.process?.log ?? ''}`
  }

  /** Starts it, again after `kill` or `stop`; returns at once. */
  launch(env: NodeJS.ProcessEnv = {}): void {
    if (this.process) this.#log = `${this.log}\n--- started again\n`
    this.process = new RunningProcess('the agent', main, {
      cwd: this.dir,
      env: { ...this.#env, ...env },
      within: this.#within,
    })
  }

  /** Starts it and returns when the API has it online (or draining, if it was). */
  async start(env: NodeJS.ProcessEnv = {}): Promise<void> {
    const before = await this.record()
    this.launch(env)
    const online = await until(`agent ${this.name} is online`, async () => {
      if (!this.process.alive) throw new Error(`the agent ended: ${this.log}`)
      const now = await this.record()
      return now && now.status !== 'offline' && now.epoch > (before?.epoch ?? 0) ? now : undefined
    })
    this.id = online.agent_id
  }

  kill(): Promise<void> {
    return this.process.kill()
  }

  stop(): Promise<number | string | null> {
    return this.process.stop()
  }

  async restart(): Promise<void> {
    await this.stop()
    await this.start()
  }

  async record(): Promise<AgentRecord | undefined> {
    const { data } = await this.#client().get<{ data: AgentRecord[] }>('/agents')
    return data.find((one) => one.name === this.name)
  }

  async close(): Promise<void> {
    await this.process?.stop(5_000)
    if (this.#temporary) rmSync(this.dir, { recursive: true, force: true })
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

const main = resolve(import.meta.dirname, '../../../apps/agent/src/main.ts')

export async function startAgent(options: AgentOptions): Promise<TestAgent> {
  const { api, labels = {}, fake = false, slots, policy = {} } = options
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'errand-agent-'))
  const name = options.name ?? `agent-${Math.random().toString(36).slice(2, 10)}`
  const { token } = await api.client.post<{ token: string }>('/enrollment-tokens', { name, labels })
  // JSON is YAML.
  writeFileSync(
    join(dir, 'agent-policy.yaml'),
    JSON.stringify({ ...policy, ...(slots && { slots: { run: slots } }) }),
  )
  const agent = new TestAgent({
    dir,
    name,
    temporary: options.dir === undefined,
    within: options.within ?? [],
    // The API makes a new client at each start.
    client: () => api.client,
    env: {
      ERRAND_URL: options.url ?? api.url,
      ERRAND_AGENT_DIR: dir,
      ERRAND_AGENT_NAME: name,
      ERRAND_TIME_SCALE: String(options.timeScale ?? 1),
      // Not the machine's own, whether it has one or not.
      DOCKER_HOST: 'unix:///nowhere/docker.sock',
      ...(fake && { ERRAND_FAKE_BACKEND: '1' }),
      ...options.env,
    },
  })
  try {
    await agent.start({ ERRAND_ENROLLMENT_TOKEN: token })
  } catch (error) {
    await agent.close()
    throw error
  }
  return agent
}
