import type { KeptAssignment, Submission } from '@errand/shared'

/** What it takes to go on with a run once its agent has died, kept with its start. It holds no secret and nothing of the code. */
export interface KeptRun {
  assignment: KeptAssignment
  slot: number
  /** From its assignment to its start. */
  prepareMs: number
  onOutputLimit: Submission['on_output_limit']
  /** The backend's own. */
  backend: unknown
}
