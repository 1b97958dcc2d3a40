import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkMachine, enterNamespaces } from './namespaced.ts'
import { ownedDirectory } from './owned-directory.ts'

/**
 * A Docker Engine of the caller's own. It ends with this process, however that dies, and leaves nothing.
 * It is in namespaces of its own: containers on its bridge reach each other and nothing else, and the process ids
 * that it tells are not the machine's.
 */
export interface DockerEngine {
  readonly socketPath: string
  /** SIGKILL to the daemon, which takes containerd along; containers go on until `start`. */
  kill(): Promise<void>
  /** Again on the same data and socket, after `kill`. */
  start(): Promise<void>
  /** SIGSTOP: it accepts connections, and answers nothing until `resume`. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** From now on this port of its loopback leads to that Unix socket of the machine, as when a registry is there. */
  forward(port: number, socketPath: string): Promise<void>
  /** Ends it and all its containers, and removes the data unless the caller gave `dir`. */
  stop(): Promise<void>
}

export interface DockerEngineOptions {
  /** The data root of an Engine that has ended: this one has its images too. It is not changed. */
  images?: string
  /** Where to keep the data; a temporary directory where absent. Its name is that of the control groups. */
  dir?: string
  /** Of `daemon.json`. */
  settings?: Record<string, unknown>
}

/** @throws where it cannot run here (the message says what is missing) or does not start */
export async function startDockerEngine({
  images,
  dir,
  settings = {},
}: DockerEngineOptions = {}): Promise<DockerEngine> {
  checkMachine('dockerd', 'docker.io')
  const home = dir ?? ownedDirectory('errand-docker-')
  mkdirSync(home, { recursive: true })
  writeFileSync(join(home, 'daemon.json'), JSON.stringify(settings))
  const socketPath = join(home, 'docker.sock')
  const inside = enterNamespaces({
    script: 'dockerd.sh',
    program: 'dockerd',
    dir: home,
    keep: dir !== undefined,
    argument: images,
  })
  const start = async (): Promise<void> => {
    await inside.order('start')
    const deadline = Date.now() + 60_000
    while (!(await answersAt(socketPath))) {
      if (!(await inside.order('look')) || Date.now() > deadline)
        throw new Error(`dockerd did not start:\n${endOf(join(home, 'log'))}`)
      await sleep(10)
    }
  }
  try {
    await start()
  } catch (error) {
    await inside.end()
    throw error
  }
  return {
    socketPath,
    start,
    kill: async () => void (await inside.order('kill')),
    pause: async () => void (await inside.order('pause')),
    resume: async () => void (await inside.order('resume')),
    forward: async (port, path) => void (await inside.order(`forward ${port} ${path}`)),
    stop: () => inside.end(),
  }
}

/** Its socket is there long before it can answer. */
function answersAt(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const ping = request({ socketPath, path: '/_ping' }, (answer) => {
      answer.resume()
      resolve(answer.statusCode === 200)
    })
    ping.on('error', () => resolve(false))
    ping.end()
  })
}

function endOf(log: string): string {
  try {
    return readFileSync(log, 'utf8').split('\n').slice(-20).join('\n')
  } catch {
    return '(no log)'
  }
}
