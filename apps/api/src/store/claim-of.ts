/** A claim of a job as every message about it names it. */
export interface ClaimOf {
  id: string
  fence: number
  agentId: string
  epoch: number
}
