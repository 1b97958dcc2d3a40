import { inject, onTestFailed, onTestFinished } from 'vitest'
import { startAgent, type AgentOptions, type TestAgent } from './agent.ts'
import { startApi, type Api, type ApiOptions } from './api.ts'

/** Both databases, for `describe.each`: system tests hold on either. */
export const databases = ['pglite', 'postgres'] as const

/** An API that ends with the test; its log is printed when the test fails. */
export async function apiForTest(
  options: Omit<ApiOptions, 'database'> & { database: ApiOptions['database'] | 'postgres' },
): Promise<Api> {
  const database = options.database === 'postgres' ? { server: inject('databaseUrl') } : options.database
  return ended('API', await startApi({ ...options, database }))
}

/** An agent that ends with the test; its log is printed when the test fails. */
export async function agentForTest(options: AgentOptions): Promise<TestAgent> {
  return ended('agent', await startAgent(options))
}

function ended<Started extends { log: string; close(): Promise<void> }>(
  what: string,
  started: Started,
): Started {
  onTestFinished(() => started.close())
  onTestFailed(() => console.error(`--- log of the ${what}\n${started.log.slice(-20_000)}`))
  return started
}
