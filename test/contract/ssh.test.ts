import { contract } from './contract.ts'
import type { Harness } from './harness.ts'
import { openSsh } from './open-ssh.ts'

contract('ssh', open)

async function open(): Promise<Harness> {
  const opened = await openSsh()
  return {
    backend: opened.backend,
    settings: (runtime) => opened.settings({ runtime }),
    slots: 2,
    fastExits: 2_000,
    leftovers: async () => opened.leftovers(),
    close: () => opened.close(),
  }
}
