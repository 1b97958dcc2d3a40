import type { RuntimeName, SubmissionBody } from '@errand/shared'
import type { Backend } from '../../apps/agent/src/backends/backend.ts'
import type { Driving } from './drive.ts'
import { processesWith } from './processes-with.ts'

/** What the contract needs to know of a backend. */
export interface Harness {
  backend: Backend
  /** Validated settings of an executor for this runtime. */
  settings(runtime: RuntimeName): Record<string, unknown>
  /** Runs at once. */
  slots: number
  /** How many programs that end at once the suite runs. */
  fastExits: number
  /** Whatever runs left behind besides processes: directories, containers. */
  leftovers(): Promise<string[]>
  close(): Promise<void>
}

/** A variable in the environment of every program of the suite: finds their processes wherever they are. */
export const tag = { name: 'CONTRACT_TAG', value: crypto.randomUUID() }

/** What `drive` needs for one submission. */
export function driving(
  harness: Harness,
  submission: Omit<SubmissionBody, 'executor'>,
  more: Partial<Driving> = {},
): Driving {
  const settings = harness.settings(submission.runtime ?? 'python')
  const tagged = { ...submission, env: { [tag.name]: tag.value, ...submission.env } }
  return { backend: harness.backend, settings, submission: tagged, ...more }
}

/** Everything that any run of the suite left on this host. */
export async function residue(harness: Harness): Promise<string[]> {
  return [...processesWith(tag.name, tag.value), ...(await harness.leftovers())]
}
