import type { ExecutorType } from '@errand/shared'
import type { Backend, BackendParts } from './backend.ts'
import { createDocker } from './docker/docker.ts'
import { createFake } from './fake/fake.ts'
import { createLocalhost } from './localhost/localhost.ts'
import { createSsh } from './ssh/ssh.ts'

/** The backends that the policy allows. `fake` puts one that runs nothing in the place of all, for system tests. */
export function makeBackends(parts: BackendParts, fake: boolean): Partial<Record<ExecutorType, Backend>> {
  const allows = (type: ExecutorType): boolean => parts.policy.backends.includes(type)
  if (fake) return allows('localhost') ? { localhost: createFake() } : {}
  return {
    ...(allows('docker') && { docker: createDocker(parts) }),
    ...(allows('localhost') && { localhost: createLocalhost(parts) }),
    ...(allows('ssh') && { ssh: createSsh(parts) }),
  }
}
