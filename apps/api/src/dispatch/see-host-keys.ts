import { type HostKey, type HostKeys, type SshExecutor, hostKeyLine, readHostKey } from '@errand/shared'
import { listAgents } from '../store/agents.ts'
import type { Database } from '../store/database.ts'
import { whoServes } from '../store/waiting-reason.ts'
import type { AskAgent } from './ask-agent.ts'
import { whyUnanswered } from './why-unanswered.ts'

export type SeeHostKeys = (settings: SshExecutor) => Promise<HostKeys>

type Seen = Pick<HostKeys['agents'][number], 'keys' | 'error'>

/** Which host keys the target of an ssh executor presents now, to each agent that would connect there; nothing is stored. */
export function createSeeHostKeys({ db, ask }: { db: Database; ask: AskAgent }): SeeHostKeys {
  return async function seeHostKeys(settings) {
    const { host, port, agent_labels } = settings
    const { agents, reason } = whoServes({ executorType: 'ssh', labels: agent_labels }, await listAgents(db))
    const asked = agents.map(async ({ agent_id, name }) => ({
      agent_id,
      agent: name,
      ...(await seenBy(agent_id, host, port)),
    }))
    return { host, port, stored: await storedIn(settings), reason, agents: await Promise.all(asked) }
  }

  async function seenBy(agentId: string, host: string, port: number): Promise<Seen> {
    const answer = await ask(agentId, { type: 'host_key', host, port })
    if (typeof answer === 'string' || answer.type !== 'host_key_seen') {
      const { detail, advice } = whyUnanswered[answer === 'not_here' ? 'not_here' : 'silent']
      return { keys: [], error: `${detail}; ${advice}` }
    }
    if (answer.error !== null) return { keys: [], error: answer.error }
    const lines = answer.keys.filter((line) => hostKeyLine.safeParse(line).success)
    if (lines.length === 0) return { keys: [], error: 'the target presented no host key' }
    return { keys: await Promise.all(lines.map(readHostKey)), error: null }
  }
}

async function storedIn({ host_key, host_key_sha256 }: SshExecutor): Promise<HostKey[]> {
  if (host_key_sha256 !== undefined) return [{ key_type: null, sha256: host_key_sha256, host_key: null }]
  return Promise.all([host_key ?? []].flat().map(readHostKey))
}
