import type { ExecutorType } from '@errand/shared'
import type { Backend, BackendParts } from './backend.ts'
import { createFake } from './fake/fake.ts'
import { createLocalhost } from './localhost/localhost.ts'

/** The backends that the policy allows. `fake` puts one that runs nothing in the place of localhost, for system tests. */
export function makeBackends(parts: BackendParts, fake: boolean): Partial<Record<ExecutorType, Backend>> {
  if (!parts.policy.backends.includes('localhost')) return {}
  return { localhost: fake ? createFake() : createLocalhost(parts) }
}
