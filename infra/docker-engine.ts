import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
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
  /** Ends it and all its containers, and removes the data unless the caller gave `dir`. */
  stop(): Promise<void>
}

export interface DockerEngineOptions {
  /** The data root of an Engine that has ended: this one has its images too. It is not changed. */
  images?: string
  /** Where to keep the data; a temporary directory where absent. Its name is that of the control groups. */
  dir?: string
}

/** @throws where it cannot run here (the message says what is missing) or does not start */
export async function startDockerEngine({ images, dir }: DockerEngineOptions = {}): Promise<DockerEngine> {
  checkMachine()
  const home = dir ?? ownedDirectory('errand-docker-')
  mkdirSync(home, { recursive: true })
  const socketPath = join(home, 'docker.sock')
  const shell = spawn(
    'bash',
    [join(import.meta.dirname, 'dockerd.sh'), home, dir ? 'keep' : 'remove', images ?? ''],
    {
      // A session of its own: Ctrl-C must not reach it, it learns of our end by its stdin.
      detached: true,
      stdio: 'pipe',
    },
  )
  shell.stdin.on('error', () => {})
  const complaints = text(shell.stderr)
  const ended = once(shell, 'exit')
  const answers = createInterface(shell.stdout)[Symbol.asyncIterator]()

  const order = async (word: string): Promise<string> => {
    shell.stdin.write(`${word}\n`)
    const answer = await answers.next()
    if (answer.done) throw new Error(`the Docker Engine has ended: ${await complaints}`)
    return answer.value
  }
  const act = (word: string) => async (): Promise<void> => void (await order(word))
  const start = async (): Promise<void> => {
    await order('start')
    const deadline = Date.now() + 60_000
    while (!(await answersAt(socketPath))) {
      if ((await order('look')) === 'down' || Date.now() > deadline)
        throw new Error(`dockerd did not start:\n${endOf(join(home, 'log'))}`)
      await sleep(10)
    }
  }
  const stop = async (): Promise<void> => {
    shell.stdin.end()
    await ended
  }
  try {
    await start()
  } catch (error) {
    await stop()
    throw error
  }
  return { socketPath, kill: act('kill'), start, pause: act('pause'), resume: act('resume'), stop }
}

function checkMachine(): void {
  if (process.getuid?.() !== 0) throw new Error('a Docker Engine of the tests runs as root only')
  if (!existsSync('/usr/sbin/dockerd'))
    throw new Error(
      'no Docker Engine on this machine: run sh infra/setup.sh test, or apt-get install docker.io',
    )
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
