import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { postgresBin } from './postgres-bin.ts'
import { runTool } from './run-tool.ts'

/** Makes a new empty database on the server of `serverUrl`: its url. */
export async function createDatabase(serverUrl: string): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`
  await act(serverUrl, `CREATE DATABASE ${name}`)
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  return url.href
}

/** Removes a database that `createDatabase` made, also while connections to it are open. */
export async function dropDatabase(databaseUrl: string): Promise<void> {
  const url = new URL(databaseUrl)
  const name = url.pathname.slice(1)
  url.pathname = '/postgres'
  await act(url.href, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`)
}

/** psql, since nothing here may hold a connection open. The password goes by environment: arguments are public. */
async function act(serverUrl: string, statement: string): Promise<void> {
  const { hostname, port, username, password, pathname } = new URL(serverUrl)
  await runTool(join(postgresBin(), 'psql'), ['-X', '-q', '-v', 'ON_ERROR_STOP=1', '-c', statement], {
    env: {
      ...process.env,
      PGHOST: hostname,
      PGPORT: port,
      PGUSER: username,
      PGPASSWORD: password,
      PGDATABASE: pathname.slice(1),
    },
  })
}
