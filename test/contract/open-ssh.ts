import { existsSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentPolicy, sshExecutor } from '@errand/shared'
import type { AgentPolicy, RuntimeName, SshExecutor } from '@errand/shared'
import type { Backend } from '../../apps/agent/src/backends/backend.ts'
import { createSsh } from '../../apps/agent/src/backends/ssh/ssh.ts'
import type { SshChoices } from '../../apps/agent/src/backends/ssh/ssh.ts'
import { startSshServer } from '../../infra/ssh-server.ts'
import type { SshServer } from '../../infra/ssh-server.ts'

export interface OpenSsh {
  server: SshServer
  backend: Backend
  agentDir: string
  settings(given?: { runtime?: RuntimeName; port?: number } & Partial<SshExecutor>): SshExecutor
  /** Directories of runs on the target. */
  leftovers(): string[]
  close(): Promise<void>
}

/** An ssh backend beside a target of its own. */
export async function openSsh(
  given: {
    spoolId?: string
    server?: SshServer
    choices?: SshChoices
    agentDir?: string
    policy?: Partial<AgentPolicy>
    now?: () => number
  } = {},
): Promise<OpenSsh> {
  const server = given.server ?? (await startSshServer())
  const silent = (): void => {}
  const warn = (fields: object, message: string): void => console.error(message, fields)
  const log = { debug: silent, info: silent, warn, error: warn }
  const agentDir = given.agentDir ?? join(tmpdir(), `errand-contract-ssh-${crypto.randomUUID()}`)
  const backend = createSsh(
    {
      agentDir,
      spoolId: given.spoolId ?? 'contract',
      policy: { ...agentPolicy.parse({}), ...given.policy },
      now: given.now ?? Date.now,
      stockChanged: () => {},
      log,
    },
    given.choices,
  )
  const runs = join(server.home, '.errand', 'runs')
  return {
    server,
    backend,
    agentDir,
    settings: (more = {}) =>
      sshExecutor.parse({
        runtime: 'bash',
        host: server.host,
        port: server.port,
        username: server.username,
        private_key: server.privateKey,
        host_key: server.hostKey,
        ...more,
      }),
    leftovers: () => (existsSync(runs) ? readdirSync(runs) : []),
    async close() {
      await backend.close()
      if (given.agentDir === undefined) rmSync(agentDir, { recursive: true, force: true })
      if (!given.server) await server.stop()
    },
  }
}
