import { testImages } from '../../infra/test-images.ts'
import type { SshServer } from '../../infra/ssh-server.ts'
import { startAgent } from '../system/harness/agent.ts'
import { startApi } from '../system/harness/api.ts'
import type { Client } from '../system/harness/client.ts'

/** Where the problems run: what each backend needs of its own. */
export type Place =
  | { on: 'localhost' }
  /** An Engine that has the images of the tests. */
  | { on: 'docker'; socketPath: string }
  | { on: 'ssh'; server: SshServer }

export interface Errand {
  client: Client
  executor: string
  close: () => Promise<void>
}

/** An API and an agent with one executor for Python, at this place. */
export async function errandOn(place: Place): Promise<Errand> {
  const executor = `${place.on}_python`
  const api = await startApi({ database: 'pglite', config: configOf(place, executor) })
  const env = place.on === 'docker' ? { DOCKER_HOST: `unix://${place.socketPath}` } : {}
  const agent = await startAgent({ api, env })
  return {
    client: api.client,
    executor,
    close: async () => {
      await agent.close()
      await api.close()
    },
  }
}

/** JSON is YAML too. */
function configOf(place: Place, executor: string): string {
  return JSON.stringify({ code_executors: sectionOf(place, executor) })
}

function sectionOf(place: Place, executor: string): unknown {
  if (place.on === 'docker') return { docker: { [executor]: { image: testImages.python } } }
  if (place.on === 'localhost') return { local: { [executor]: {} } }
  const { host, port, username, privateKey, hostKey } = place.server
  const settings = { host, port, username, private_key: privateKey, host_key: hostKey }
  return { ssh: { [executor]: settings } }
}
