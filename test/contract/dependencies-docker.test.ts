import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dockerExecutor } from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startDockerEngine } from '../../infra/docker-engine.ts'
import { startPackageIndex } from '../../infra/package-index.ts'
import type { PackageIndexServer } from '../../infra/package-index.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { madeTestImages, testImages } from '../../infra/test-images.ts'
import { Missing, Rejected } from '../../apps/agent/src/backends/backend.ts'
import { labels } from '../../apps/agent/src/backends/docker/labels.ts'
import { dependenciesContract } from './dependencies.ts'
import type { DependencyHarness } from './dependencies.ts'
import { drive } from './drive.ts'
import { driveInstall } from './drive-install.ts'
import { serveHostile } from './hostile-package.ts'
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

describe('dependencies on docker', { timeout: 120_000 }, () => {
  const packages = mkdtempSync(join(tmpdir(), 'errand-packages-'))
  let socketPath: string
  let index: PackageIndexServer
  let opened: OpenDocker
  beforeAll(async () => {
    socketPath = await testDockerEngine()
    index = await startPackageIndex({ dir: packages })
    opened = await openDocker(socketPath)
  }, 180_000)
  afterEach(() => void (index.fault = undefined))
  afterAll(async () => {
    const filters = [`--filter=label=${labels.agent}=${opened.mark}`, `--filter=label=${labels.set}`]
    const names = docker(socketPath, 'volume', 'ls', '--quiet', ...filters)
    if (names.length > 0) docker(socketPath, 'volume', 'rm', ...names)
    await opened.close()
    await index.stop()
    rmSync(packages, { recursive: true })
  })

  const settings = (more: object = {}) =>
    dockerExecutor.parse({
      image: testImages.python,
      allow_dependencies: true,
      index_url: index.pythonUrl,
      ...more,
    })
  const install = (dependencies: string[], more: object = {}, backend = opened.backend) =>
    driveInstall({ backend, settings: settings(more), runtime: 'python', dependencies })

  test('an image that is not there is missing first', async () => {
    const installing = install(['errand-gamma'], { image: 'errand-test/none:1' })
    await expect(installing).rejects.toThrow(Missing)
    await expect(installing).rejects.toMatchObject({ need: 'docker_image.download' })
  })

  test('a set belongs to the image that it was installed with', async () => {
    await install(['errand-gamma'])
    const submission = { code: 'import errand_gamma', dependencies: ['errand-gamma'] }
    const { backend } = opened
    expect((await drive({ backend, settings: settings(), submission })).outcome).toBe('succeeded')
    const other = drive({ backend, settings: settings({ image: testImages.runtimes }), submission })
    await expect(other).rejects.toThrow(Missing)
  })

  test('whoever installs is nobody’s who runs', async () => {
    serveHostile(index, 'import os\ntold = os.getuid()')
    const more = { allow_install_scripts: true, user: '60578' }
    await install(['errand-hostile'], more)
    const code = 'import errand_hostile, os; print(errand_hostile.told, os.getuid())'
    const submission = { code, dependencies: ['errand-hostile'] }
    const { stdout } = await drive({ backend: opened.backend, settings: settings(more), submission })
    const [installer, runner] = stdout.toString().split(' ').map(Number)
    expect(runner).toBe(60_578)
    // After those of the eight slots.
    expect(installer).toBe(60_586)
  })

  test('an Engine that is another host’s is refused in words', async () => {
    const relay = createServer((client) => {
      const far = connect(socketPath)
      client.pipe(far).pipe(client)
      client.on('error', () => {}).on('close', () => far.destroy())
      far.on('error', () => {}).on('close', () => client.destroy())
    })
    relay.listen(0, '127.0.0.1')
    await once(relay, 'listening')
    const host = `tcp://127.0.0.1:${(relay.address() as AddressInfo).port}`
    const far = await openDocker(socketPath, { host })
    const installing = install(['errand-gamma'], {}, far.backend)
    await expect(installing).rejects.toThrow(Rejected)
    await expect(installing).rejects.toThrow("on an Engine of the agent's own host only")
    await far.close()
    relay.close()
  })

  test('an Engine that does not see the agent’s directory is refused in words', async () => {
    // It has a /run of its own.
    const agentDir = mkdtempSync('/run/errand-unseen-')
    const unseen = await openDocker(socketPath, { agentDir })
    const installing = install(['errand-gamma'], {}, unseen.backend)
    await expect(installing).rejects.toThrow(Rejected)
    await expect(installing).rejects.toThrow("does not see the agent's directory")
    expect(await unseen.lasting()).toEqual([])
    await unseen.close()
    rmSync(agentDir, { recursive: true })
  })

  test('an Engine that dies meanwhile fails it so that it may be tried again, and leaves nothing', async () => {
    const own = await startDockerEngine({ images: await madeTestImages() })
    const agent = await openDocker(own.socketPath, { time: { renewEveryMs: 500 } })
    const silent = new Promise<void>((resolve) => {
      index.fault = (path) => {
        if (!path.endsWith('.whl')) return undefined
        resolve()
        return 'silent'
      }
    })
    const installing = install(['errand-gamma'], {}, agent.backend).catch((error: Error) => error)
    await silent
    await own.kill()
    index.fault = undefined
    const error = await installing
    expect(error).toBeInstanceOf(Error)
    expect(error).not.toBeInstanceOf(Rejected)
    await own.start()
    const filters = [`--filter=label=${labels.agent}=${agent.mark}`, `--filter=label=${labels.set}`]
    const volumes = () => docker(own.socketPath, 'volume', 'ls', '--quiet', ...filters)
    await expect.poll(volumes, { timeout: 30_000 }).toEqual([])
    expect((await install(['errand-gamma'], {}, agent.backend)).result.already_there).toBe(false)
    await agent.close()
    await own.stop()
  })
})
