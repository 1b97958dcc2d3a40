import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentPolicy, timeConstants } from '@errand/shared'
import type { AgentPolicy } from '@errand/shared'
import type { Backend } from '../../apps/agent/src/backends/backend.ts'
import { createLocalhost } from '../../apps/agent/src/backends/localhost/localhost.ts'

export interface OpenLocalhost {
  backend: Backend
  agentDir: string
  /** Given to executors as `work_dir`, so that a test sees what stays there. */
  workDir: string
  close(): Promise<void>
}

/** A localhost backend with two slots, in directories of its own. */
export async function openLocalhost(
  given: {
    agentDir?: string
    workDir?: string
    bwrap?: string
    policy?: Partial<AgentPolicy>
    now?: () => number
    /** Whether its own directory stays when it is closed. */
    keep?: boolean
  } = {},
): Promise<OpenLocalhost> {
  const agentDir = given.agentDir ?? temporary('errand-contract-agent-', 0o700)
  const workDir = given.workDir ?? temporary('errand-contract-work-', 0o711)
  const silent = (): void => {}
  const backend = createLocalhost(
    {
      agentDir,
      spoolId: 'contract',
      slots: 2,
      maintenanceSlots: 2,
      stockChanged: () => {},
      now: given.now ?? Date.now,
      policy: agentPolicy.parse({ allow_unsandboxed: true, work_dirs: [workDir], ...given.policy }),
      time: timeConstants,
      log: {
        debug: silent,
        info: silent,
        warn: silent,
        error: (fields, message) => console.error(message, fields),
      },
    },
    given.bwrap === undefined ? {} : { bwrap: given.bwrap },
  )
  await backend.recover([])
  return {
    backend,
    agentDir,
    workDir,
    async close() {
      await backend.close()
      rmSync(workDir, { recursive: true, force: true })
      if (given.keep) return
      rmSync(agentDir, { recursive: true, force: true })
    },
  }
}

function temporary(prefix: string, mode: number): string {
  const dir = mkdtempSync(join(tmpdir(), prefix))
  chmodSync(dir, mode)
  return dir
}
