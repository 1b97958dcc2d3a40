import { afterAll, beforeAll, beforeEach, inject, onTestFailed, onTestFinished, vi } from 'vitest'
import { startAgent, type AgentOptions, type TestAgent } from './agent.ts'
import { startApi, type Api, type ApiOptions } from './api.ts'
import { startReplicas, type Replicas } from './replicas.ts'

// Real processes, two databases and other test files share the machine: nothing here is late before this.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 })

/** Both databases, for `describe.each`: system tests hold on either. */
export const databases = ['pglite', 'postgres'] as const

/** An API that ends with the test; its log is printed when the test fails. */
export async function apiForTest(
  options: Omit<ApiOptions, 'database'> & { database: ApiOptions['database'] | 'postgres' },
): Promise<Api> {
  return ended('API', await startApi({ ...options, database: databaseOf(options.database) }))
}

/** APIs on one PostgreSQL behind a balancer that end with the test; their logs are printed when the test fails. */
export async function replicasForTest(
  count: number,
  options: Pick<ApiOptions, 'config' | 'timeScale'> = {},
): Promise<Replicas> {
  return ended('replicas', await startReplicas(count, { ...options, server: inject('databaseUrl') }))
}

/** An agent that ends with the test; its log is printed when the test fails. */
export async function agentForTest(options: AgentOptions): Promise<TestAgent> {
  return ended('agent', await startAgent(options))
}

/**
 * An API with an agent that all tests of a `describe` share. To be called in the `describe`; its members are there
 * once a test runs.
 */
export function sharedCircle(
  options: Pick<ApiOptions, 'config' | 'timeScale'> &
    Pick<AgentOptions, 'slots' | 'policy' | 'fake'> & {
      database: (typeof databases)[number]
      /** The agent's environment, where it is known only then. */
      env?: () => Promise<NodeJS.ProcessEnv>
    },
): { readonly api: Api; readonly agent: TestAgent } {
  const { database, config, timeScale, slots, policy, fake } = options
  const circle = {} as { api: Api; agent: TestAgent }
  beforeAll(async () => {
    circle.api = await startApi({ database: databaseOf(database), config, timeScale })
    const env = await options.env?.()
    circle.agent = await startAgent({ api: circle.api, slots, policy, fake, timeScale, env })
  })
  afterAll(async () => {
    await circle.agent?.close()
    await circle.api?.close()
  })
  beforeEach(() => {
    printWhenFailed('API', circle.api)
    printWhenFailed('agent', circle.agent)
  })
  return circle
}

function databaseOf(database: ApiOptions['database'] | 'postgres'): ApiOptions['database'] {
  return database === 'postgres' ? { server: inject('databaseUrl') } : database
}

function ended<Started extends { log: string; close(): Promise<void> }>(
  what: string,
  started: Started,
): Started {
  onTestFinished(() => started.close())
  printWhenFailed(what, started)
  return started
}

function printWhenFailed(what: string, started: { log: string }): void {
  onTestFailed(() => console.error(`--- log of the ${what}\n${started.log.slice(-20_000)}`))
}
