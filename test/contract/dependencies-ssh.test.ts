import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sshExecutor } from '@errand/shared'
import { startPackageIndex } from '../../infra/package-index.ts'
import { startSshServer } from '../../infra/ssh-server.ts'
import { dependenciesContract } from './dependencies.ts'
import type { DependencyHarness } from './dependencies.ts'
import { openSsh } from './open-ssh.ts'

dependenciesContract(
  'ssh',
  async (): Promise<DependencyHarness> => {
    const server = await startSshServer()
    const packages = mkdtempSync(join(tmpdir(), 'errand-packages-'))
    const index = await startPackageIndex({ dir: packages })
    const agents: { spoolId: string; agentDir: string }[] = []
    const [sets, runs] = ['sets', 'runs'].map((name) => join(server.home, '.errand', name)) as [
      string,
      string,
    ]
    return {
      index,
      indexDir: packages,
      guardedIndex: (auth) => startPackageIndex({ dir: join(packages, 'guarded'), auth }),
      async open({ same = false, ...given } = {}) {
        const fresh = same
          ? agents[0]!
          : {
              spoolId: crypto.randomUUID(),
              agentDir: mkdtempSync(join(tmpdir(), 'errand-contract-ssh-')),
            }
        if (!same) agents.push(fresh)
        return openSsh({ ...given, server, ...fresh })
      },
      settings: (more) =>
        sshExecutor.parse({
          host: server.host,
          port: server.port,
          username: server.username,
          private_key: server.privateKey,
          host_key: server.hostKey,
          index_url: more.runtime === 'python' ? index.pythonUrl : index.npmUrl,
          ...more,
        }),
      dying: () => ({ backend: 'ssh', given: { ...agents[0], server: { home: server.home } } }),
      lying: async () =>
        namesIn(sets).flatMap((hash) =>
          namesIn(join(sets, hash))
            .filter((name) => !/^(whole|used-.*)$/.test(name))
            .map((name) => join(sets, hash, name)),
        ),
      remove: async (path) => rmSync(path, { recursive: true }),
      async empty(opened) {
        await opened.close()
      },
      leftovers: async () => namesIn(runs),
      async close() {
        await index.stop()
        await server.stop()
        for (const dir of [packages, ...agents.map(({ agentDir }) => agentDir)])
          rmSync(dir, { recursive: true, force: true })
      },
    }
  },
  {
    'noted by its agent': 'the target itself says what is whole',
    'a network of its own': 'the target’s is used',
    'telling whose fault it is': 'nobody watches the way from the target to the index',
    'a folder as an index': 'it lies on the agent’s host',
    'sealed sets': 'runs and installations are one user',
  },
)

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}
