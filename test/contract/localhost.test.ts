import { readdirSync } from 'node:fs'
import { localhostExecutor } from '@errand/shared'
import { contract } from './contract.ts'
import type { Harness } from './harness.ts'
import { openLocalhost } from './open-localhost.ts'

contract('localhost in bubblewrap', () => open('required'))
contract('localhost unsandboxed', () => open('none'))

async function open(sandbox: 'required' | 'none'): Promise<Harness> {
  const opened = await openLocalhost()
  const { backend, workDir } = opened
  return {
    backend,
    settings: (runtime) => localhostExecutor.parse({ runtime, sandbox, work_dir: workDir }),
    slots: 2,
    fastExits: 2_000,
    leftovers: async () => readdirSync(workDir),
    close: () => opened.close(),
  }
}
