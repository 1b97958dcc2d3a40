import type { AssignedExecutor, CheckReport, ExecutorCheck } from '@errand/shared'
import { CannotOpen, type Secrets } from '../secrets/secrets.ts'
import { listAgents } from '../store/agents.ts'
import type { Database } from '../store/database.ts'
import { type ExecutorRow, getExecutorConfig } from '../store/executors.ts'
import { whoServes } from '../store/waiting-reason.ts'
import type { AskAgent } from './ask-agent.ts'
import { whyUnanswered } from './why-unanswered.ts'

export type CheckExecutor = (
  executor: ExecutorRow,
  asked: Omit<AssignedExecutor, 'executor'>,
) => Promise<ExecutorCheck>

/** Asks every agent that would get the executor's jobs whether they would run there now. */
export function createCheckExecutor(parts: { db: Database; secrets: Secrets; ask: AskAgent }): CheckExecutor {
  const { db, secrets, ask } = parts

  return async function checkExecutor({ name, config_id, executor_type, settings }, asked) {
    const need = { executorType: executor_type, labels: settings.agent_labels }
    const { agents, reason } = whoServes(need, await listAgents(db))
    const none = (why: string | null) => ({ name, config_id, ok: false, reason: why, agents: [] })
    if (agents.length === 0) return none(reason)
    if (!(await hasReadableSecrets(config_id)))
      return none('its secrets cannot be read; was ERRAND_SECRET_KEY changed?')
    const checks = agents.map(async (agent) => {
      const report = await reportOf(agent.agent_id, config_id, asked)
      const ok = report.findings.every((one) => one.ok)
      return { agent_id: agent.agent_id, agent: agent.name, ok, ...report }
    })
    const checked = await Promise.all(checks)
    const disabled = settings.enabled ? null : 'the executor is disabled'
    const ok = settings.enabled && checked.every((one) => one.ok)
    return { name, config_id, ok, reason: disabled, agents: checked }
  }

  async function hasReadableSecrets(configId: string): Promise<boolean> {
    try {
      await getExecutorConfig(db, secrets, configId)
      return true
    } catch (error) {
      if (error instanceof CannotOpen) return false
      throw error
    }
  }

  async function reportOf(
    agentId: string,
    config_id: string,
    asked: Omit<AssignedExecutor, 'executor'>,
  ): Promise<CheckReport> {
    const answer = await ask(agentId, { type: 'check', config_id, ...asked })
    if (typeof answer !== 'string' && answer.type === 'checked') return answer.report
    const why = whyUnanswered[answer === 'not_here' ? 'not_here' : 'silent']
    return { runtime_id: null, findings: [{ what: 'agent', ok: false, ...why }] }
  }
}
