import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentPolicy, localhostExecutor, timeConstants } from '@errand/shared'
import { createLocalhost } from '../../apps/agent/src/backends/localhost/localhost.ts'
import { contract } from './contract.ts'
import type { Harness } from './harness.ts'

contract('localhost in bubblewrap', () => open('required'))
contract('localhost unsandboxed', () => open('none'))

async function open(sandbox: 'required' | 'none'): Promise<Harness> {
  const agentDir = mkdtempSync(join(tmpdir(), 'errand-contract-'))
  // as `work_dir`, so that the test sees what stays there; the slots' users must reach it
  const workDir = mkdtempSync(join(tmpdir(), 'errand-contract-work-'))
  chmodSync(workDir, 0o711)
  const slots = 2
  const silent = () => {}
  const backend = createLocalhost({
    agentDir,
    spoolId: crypto.randomUUID(),
    slots,
    policy: agentPolicy.parse({ allow_unsandboxed: true, work_dirs: [workDir] }),
    time: timeConstants,
    log: {
      debug: silent,
      info: silent,
      warn: silent,
      error: (fields, message) => console.error(message, fields),
    },
  })
  await backend.recover()
  return {
    backend,
    settings: (runtime) => localhostExecutor.parse({ runtime, sandbox, work_dir: workDir }),
    slots,
    fastExits: 2_000,
    leftovers: async () => readdirSync(workDir),
    async close() {
      await backend.close()
      rmSync(agentDir, { recursive: true })
      rmSync(workDir, { recursive: true })
    },
  }
}
