import type { Backend } from '../../apps/agent/src/backends/backend.ts'
import { driveInstall } from './drive-install.ts'
import { openDocker } from './open-docker.ts'
import { openLocalhost } from './open-localhost.ts'
import { openSsh } from './open-ssh.ts'

/** What this process is told, as JSON. */
export interface Dying {
  backend: 'localhost' | 'docker' | 'ssh'
  /** For `open-….ts`. */
  given: Record<string, unknown>
  settings: Record<string, unknown>
  dependencies: string[]
  /** Where it kills itself; `never`: the test does. */
  dieAt: 'starting' | 'noting' | 'noted' | 'never'
}

/** A process that installs a dependency set as an agent would, and dies over it. */
const { backend: type, given, settings, dependencies, dieAt } = JSON.parse(process.argv[2]!) as Dying
let installing = false
const die = (): never => {
  process.kill(process.pid, 'SIGKILL')
  throw new Error('it lives')
}
const backend = await open({
  ...given,
  // Nothing else of an installation asks for the time but what keeps it.
  now: () => (dieAt === 'noting' && installing ? die() : Date.now()),
})
installing = true
await driveInstall({
  backend,
  settings,
  runtime: 'python',
  dependencies,
  starting: () => void (dieAt === 'starting' && die()),
  watch: ({ line }) => void (dieAt === 'noted' && line?.startsWith('installed:') && die()),
})

async function open(more: Record<string, unknown>): Promise<Backend> {
  if (type === 'localhost') return (await openLocalhost(more)).backend
  if (type === 'docker') return (await openDocker(String(more['socketPath']), more)).backend
  return (await openSsh(more)).backend
}
