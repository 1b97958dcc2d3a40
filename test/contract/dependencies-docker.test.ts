import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dockerExecutor } from '@errand/shared'
import { startPackageIndex } from '../../infra/package-index.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { testImages } from '../../infra/test-images.ts'
import { labels } from '../../apps/agent/src/backends/docker/labels.ts'
import { dependenciesContract } from './dependencies.ts'
import type { DependencyHarness } from './dependencies.ts'
import { docker, openDocker } from './open-docker.ts'
import type { OpenDocker } from './open-docker.ts'

dependenciesContract('docker', async (): Promise<DependencyHarness> => {
  const socketPath = await testDockerEngine()
  const packages = mkdtempSync(join(tmpdir(), 'errand-packages-'))
  const index = await startPackageIndex({ dir: packages })
  const agents: OpenDocker[] = []
  const setsOf = ({ mark }: OpenDocker): string[] => {
    const filters = [`--filter=label=${labels.agent}=${mark}`, `--filter=label=${labels.set}`]
    return docker(socketPath, 'volume', 'ls', '--quiet', ...filters)
  }
  const remove = (names: string[]): void =>
    void (names.length > 0 && docker(socketPath, 'volume', 'rm', ...names))
  return {
    index,
    indexDir: packages,
    guardedIndex: (auth) => startPackageIndex({ dir: join(packages, 'guarded'), auth }),
    async open({ same = false, ...given } = {}) {
      const { mark, agentDir } = agents[0] ?? {}
      const opened = await openDocker(socketPath, { ...given, ...(same && { mark, agentDir }), keep: true })
      if (!same) agents.push(opened)
      return opened
    },
    settings: (more) =>
      dockerExecutor.parse({
        image: testImages.runtimes,
        index_url: more.runtime === 'python' ? index.pythonUrl : index.npmUrl,
        ...more,
      }),
    dying: () => ({
      backend: 'docker',
      given: { socketPath, mark: agents[0]!.mark, agentDir: agents[0]!.agentDir },
    }),
    lying: async () => agents.flatMap(setsOf),
    remove: async (name) => remove([name]),
    async empty(opened) {
      await opened.close()
      remove(setsOf(agents.at(-1)!))
    },
    async leftovers() {
      const onEngine = await Promise.all(agents.map((one) => one.lasting()))
      const ways = agents.map(({ agentDir }) => join(agentDir, 'docker/ways'))
      return [...onEngine.flat(), ...ways.flatMap((dir) => (existsSync(dir) ? readdirSync(dir) : []))]
    },
    async close() {
      await index.stop()
      remove(agents.flatMap(setsOf))
      for (const dir of [packages, ...agents.map(({ agentDir }) => agentDir)])
        rmSync(dir, { recursive: true, force: true })
    },
  }
})
