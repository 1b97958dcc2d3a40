import { inject, onTestFinished } from 'vitest'
import { createDatabase, dropDatabase } from './create-database.ts'

/** A new empty database on the shared PostgreSQL of the test run, removed when the test that asked is over. */
export async function testDatabase(): Promise<string> {
  const url = await createDatabase(inject('databaseUrl'))
  onTestFinished(() => dropDatabase(url))
  return url
}
