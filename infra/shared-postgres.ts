import type { TestProject } from 'vitest/node'
import { startPostgres } from './postgres.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** The PostgreSQL of this test run; give each test a database of its own with `testDatabase`. */
    databaseUrl: string
  }
}

/** vitest's global set-up: one PostgreSQL for the whole run. Tests that kill theirs start one with `startPostgres`. */
export default async function sharedPostgres(project: TestProject): Promise<() => Promise<void>> {
  const postgres = await startPostgres({ fsync: false })
  project.provide('databaseUrl', postgres.url)
  return () => postgres.stop()
}
