import type { AgentReport, ApiMessage } from '@errand/shared'

/** One connected agent in one session (its epoch). */
export interface AgentLink {
  readonly agentId: string
  readonly epoch: number
  readonly labels: Readonly<Record<string, string>>
  readonly report: AgentReport
  send(message: ApiMessage): void
  close(code: number, reason: string): void
}
