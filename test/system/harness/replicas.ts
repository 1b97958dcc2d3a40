import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startBalancer } from '../../../infra/balancer.ts'
import { createDatabase, dropDatabase } from '../../../infra/create-database.ts'
import { startApi, type Api, type ApiOptions } from './api.ts'
import { Client } from './client.ts'

export interface Replicas {
  /** They share a database and their keys. */
  readonly apis: readonly Api[]
  /** All of them, by way of a load balancer. */
  readonly balanced: { readonly url: string; readonly client: Client }
  readonly log: string
  close(): Promise<void>
}

/** `count` APIs on one new database of the PostgreSQL at `server`. */
export async function startReplicas(
  count: number,
  { server, ...options }: Pick<ApiOptions, 'config' | 'timeScale'> & { server: string },
): Promise<Replicas> {
  const dir = mkdtempSync(join(tmpdir(), 'errand-replicas-'))
  const url = await createDatabase(server)
  const apis: Api[] = []
  const closing: (() => Promise<void> | void)[] = [
    () => dropDatabase(url),
    () => rmSync(dir, { recursive: true, force: true }),
  ]
  const close = async (): Promise<void> => {
    await Promise.all(apis.map((api) => api.close()))
    for (const act of closing) await act()
  }
  try {
    // One after another: the first makes the keys.
    for (let n = 0; n < count; n++) apis.push(await startApi({ ...options, database: { url }, dir }))
    const balancer = await startBalancer(apis.map((api) => api.port))
    closing.unshift(() => balancer.stop())
    return {
      apis,
      balanced: { url: balancer.url, client: new Client(balancer.url, apis[0]!.adminKey) },
      get log() {
        return apis.map((api, n) => `--- replica ${n}\n${api.log}`).join('\n')
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
