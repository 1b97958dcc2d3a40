import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { startDockerEngine, type DockerEngine } from './docker-engine.ts'
import { startDockerRegistry, type DockerRegistry } from './docker-registry.ts'
import { runTool } from './run-tool.ts'
import { madeTestImages, testImages } from './test-images.ts'

describe('startDockerRegistry', () => {
  let engine: DockerEngine
  beforeAll(async () => void (engine = await startDockerEngine({ images: await madeTestImages() })), 180_000)
  afterAll(() => engine.stop())

  const docker = async (...args: string[]): Promise<string> =>
    (await runTool('docker', ['--host', `unix://${engine.socketPath}`, ...args])).trim()

  async function start(options?: Parameters<typeof startDockerRegistry>[0]): Promise<DockerRegistry> {
    const registry = await startDockerRegistry(options)
    onTestFinished(() => registry.stop())
    await registry.showTo(engine)
    return registry
  }

  it('has what was published there, and says what it was asked for', async () => {
    const registry = await start()
    const { reference, digest } = await registry.publish('team/one', '1', [10, 20])
    expect(await docker('pull', reference)).toContain(digest)
    const asked = registry.accesses().filter((access) => access.startsWith('GET'))
    expect(asked.filter((access) => access.includes('/manifests/'))).toEqual([
      `GET /v2/team/one/manifests/${digest}`,
    ])
    expect(asked.filter((access) => access.includes('/blobs/'))).toHaveLength(3)
  })

  it('takes what an Engine has', async () => {
    const registry = await start()
    const reference = await registry.push(engine, testImages.bare, 'bare', '1')
    expect(await docker('images', '--quiet', reference)).toBe('')
    await docker('pull', '--quiet', reference)
    expect(await docker('images', '--quiet', reference)).not.toBe('')
  })

  it('shows nothing to strangers, where it asks for credentials', async () => {
    const registry = await start({ auth: true })
    const { reference } = await registry.publish('one', '1', [10])
    await expect(docker('pull', reference)).rejects.toThrow('no basic auth credentials')
    expect(registry.accesses().join()).not.toContain('blobs')
  })

  it('is as slow as it is told, cuts, and says what it is told to say', async () => {
    const registry = await start()
    const { reference } = await registry.publish('one', '1', [100_000])
    registry.faults.instead = (_, path) => (path.includes('/manifests/') ? { status: 500 } : undefined)
    await expect(docker('pull', reference)).rejects.toThrow('500 Internal Server Error')
    registry.faults.instead = undefined
    registry.faults.cutAfter = 100
    await expect(docker('pull', reference)).rejects.toThrow('EOF')
    registry.faults.cutAfter = undefined
    registry.faults.bytesPerSec = 100_000
    const began = performance.now()
    const pulled = docker('pull', reference)
    await vi.waitFor(() => expect(registry.sending()).toBe(1), 10_000)
    await pulled
    expect(performance.now() - began).toBeGreaterThan(900)
    expect(registry.sending()).toBe(0)
  })

  it('is away while it is killed, and has all it had afterwards', async () => {
    const registry = await start()
    const { reference } = await registry.publish('one', '1', [10])
    await registry.kill()
    await expect(docker('pull', reference)).rejects.toThrow('EOF')
    await registry.start()
    await docker('pull', reference)
  })

  it('leaves nothing when whoever started it is killed', async () => {
    const program = `
      const { startDockerRegistry } = await import(${JSON.stringify(import.meta.resolve('./docker-registry.ts'))})
      await startDockerRegistry()
      console.log('up')
      setInterval(() => {}, 1_000)`
    const owner = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await owner.stdout.take(1).toArray()
    const [, dir] = /registry\.sh (\S+)/.exec(
      await runTool('pgrep', ['--list-full', '--parent', `${owner.pid}`]),
    )!
    expect(existsSync(dir!)).toBe(true)
    owner.kill('SIGKILL')
    await vi.waitFor(async () => {
      expect(existsSync(dir!)).toBe(false)
      expect(await runTool('pgrep', ['--full', '--', dir!]).catch(() => '')).toBe('')
    }, 20_000)
  })
})
