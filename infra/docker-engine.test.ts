import { spawn } from 'node:child_process'
import { existsSync, globSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { startDockerEngine, type DockerEngine } from './docker-engine.ts'
import { runTool } from './run-tool.ts'
import { testDockerEngine } from './test-docker-engine.ts'
import { madeTestImages, testImages } from './test-images.ts'

const docker = async (socketPath: string, ...args: string[]): Promise<string> =>
  (await runTool('docker', ['--host', `unix://${socketPath}`, ...args])).trim()

/** Of the machine, whatever namespace they are in. */
const processesNaming = (text: string): Promise<string> =>
  runTool('pgrep', ['--full', '--', text]).catch(() => '')

const leftovers = async ({ socketPath }: DockerEngine): Promise<unknown[]> => [
  existsSync(dirname(socketPath)),
  globSync(`/sys/fs/cgroup/{.,*}/${basename(dirname(socketPath))}`),
  await processesNaming(dirname(socketPath)),
]
const nothing = [false, [], '']

const sleeping = ['run', '--detach', '--stop-signal', 'KILL', testImages.python, 'sleep', '600'] as const

describe('the shared Docker Engine', () => {
  it('is one for all who ask, and has the images', { timeout: 180_000 }, async () => {
    const [one, two] = await Promise.all([testDockerEngine(), testDockerEngine()])
    expect(two).toBe(one)
    const names = await docker(one, 'images', '--format', '{{.Repository}}:{{.Tag}}')
    expect(names.split('\n')).toEqual(expect.arrayContaining(Object.values(testImages)))
  })
})

describe('startDockerEngine', () => {
  let images: string
  beforeAll(async () => void (images = await madeTestImages()), 180_000)

  async function start(): Promise<DockerEngine> {
    const engine = await startDockerEngine({ images })
    onTestFinished(() => engine.stop())
    return engine
  }

  it('keeps memory and process limits', async () => {
    const { socketPath } = await start()
    const limited = [
      'run',
      '--memory',
      '64m',
      '--memory-swap',
      '64m',
      '--pids-limit',
      '16',
      '--network',
      'none',
    ]
    const id = await docker(
      socketPath,
      ...limited,
      '--detach',
      testImages.python,
      'python3',
      '-c',
      'b"x" * 10**9',
    )
    expect(await docker(socketPath, 'wait', id)).toBe('137')
    expect(await docker(socketPath, 'inspect', '--format', '{{.State.OOMKilled}}', id)).toBe('true')
    const forks = 'import os\nfor n in range(99):\n  if os.fork() == 0: import time; time.sleep(9)'
    await expect(docker(socketPath, ...limited, testImages.python, 'python3', '-c', forks)).rejects.toThrow(
      'BlockingIOError',
    )
  })

  it('lets containers reach each other over a bridge', async () => {
    const { socketPath } = await start()
    const serve =
      'import socket\ns = socket.create_server(("", 80))\nwhile True: s.accept()[0].sendall(b"here")'
    const server = await docker(socketPath, 'run', '--detach', testImages.python, 'python3', '-c', serve)
    const address = await docker(socketPath, 'inspect', '--format', '{{.NetworkSettings.IPAddress}}', server)
    const ask = `import socket
while True:
  try: print(socket.create_connection(("${address}", 80)).recv(9)); break
  except ConnectionRefusedError: pass`
    expect(await docker(socketPath, 'run', testImages.python, 'python3', '-c', ask)).toBe("b'here'")
  })

  it('is not seen by a second one', async () => {
    const [one, two] = await Promise.all([start(), start()])
    await docker(one.socketPath, ...sleeping)
    await docker(two.socketPath, 'rmi', '--force', testImages.bare).catch(() => {})
    expect(await docker(two.socketPath, 'ps', '--quiet')).toBe('')
    expect(await docker(one.socketPath, 'run', testImages.bare, '/usr/bin/python3', '--version')).toBe(
      'Python 3.0.0',
    )
  })

  it('loses containers to SIGKILL of the daemon, and serves again on the same socket', async () => {
    const engine = await start()
    const id = await docker(engine.socketPath, ...sleeping)
    await engine.kill()
    await expect(docker(engine.socketPath, 'ps')).rejects.toThrow('Cannot connect')
    await engine.start()
    expect(await docker(engine.socketPath, 'inspect', '--format', '{{.State.Running}}', id)).toBe('false')
    await docker(engine.socketPath, ...sleeping)
  })

  it('answers nothing while it is paused', async () => {
    const engine = await start()
    await engine.pause()
    const version = docker(engine.socketPath, 'version', '--format', '{{.Server.Os}}')
    const first = await Promise.race([version, new Promise((resolve) => setTimeout(resolve, 300, 'silence'))])
    expect(first).toBe('silence')
    await engine.resume()
    expect(await version).toBe('linux')
  })

  it('leaves nothing when it is stopped', async () => {
    const engine = await startDockerEngine({ images })
    await docker(engine.socketPath, ...sleeping)
    expect(await leftovers(engine)).not.toEqual(nothing)
    await engine.stop()
    expect(await leftovers(engine)).toEqual(nothing)
  })

  it('leaves nothing when whoever started it is killed', async () => {
    const program = `
      const { startDockerEngine } = await import(${JSON.stringify(import.meta.resolve('./docker-engine.ts'))})
      const { socketPath } = await startDockerEngine({ images: ${JSON.stringify(images)} })
      console.log(JSON.stringify({ socketPath }))`
    const owner = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [line] = (await owner.stdout.take(1).toArray()) as Buffer[]
    const engine = JSON.parse(String(line)) as DockerEngine
    await docker(engine.socketPath, ...sleeping)
    owner.kill('SIGKILL')
    await vi.waitFor(async () => expect(await leftovers(engine)).toEqual(nothing), 20_000)
  })

  it('says what went wrong when it does not start', async () => {
    await expect(startDockerEngine({ images: '/nowhere' })).rejects.toThrow(/\/nowhere.*No such file/)
  })
})
