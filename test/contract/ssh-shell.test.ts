import { contract } from './contract.ts'
import type { Harness } from './harness.ts'
import { openSsh } from './open-ssh.ts'

contract('ssh where the box cannot run', open, {
  'endless forks': 'a shell is no subreaper: what it finds in /proc has forked again before it is killed',
})

async function open(): Promise<Harness> {
  const opened = await openSsh({ choices: { findBox: () => Promise.resolve(undefined) } })
  return {
    backend: opened.backend,
    settings: (runtime) => opened.settings({ runtime }),
    slots: 2,
    fastExits: 100,
    leftovers: async () => opened.leftovers(),
    close: () => opened.close(),
  }
}
