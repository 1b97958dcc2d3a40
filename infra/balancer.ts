import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './free-port.ts'
import { ownedDirectory } from './owned-directory.ts'

/** A plain load balancer of HTTP (haproxy) before replicas of the API, on a loopback port. It ends with this process. */
export interface Balancer {
  readonly url: string
  stop(): Promise<void>
}

/**
 * Spreads requests over the servers at these loopback ports that say they are ready, in turn. The header `served-by` says
 * which one it was: `at-` and its port.
 *
 * @throws where haproxy is not installed or does not start
 */
export async function startBalancer(ports: readonly number[]): Promise<Balancer> {
  const dir = ownedDirectory('errand-balancer-')
  const port = await freePort()
  const file = join(dir, 'haproxy.cfg')
  writeFileSync(file, settings(port, ports))
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'haproxy', '-db', '-f', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (text: Buffer) => (said += text.toString()))
  child.on('error', (error) => (said += error.message))
  const ended = once(child, 'close').catch(() => {})
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
    rmSync(dir, { recursive: true, force: true })
  }
  while (!(await listens(port))) {
    if (child.exitCode !== null || child.pid === undefined) {
      await stop()
      throw new Error(`haproxy did not start: ${said}`)
    }
    await sleep(10)
  }
  return { url: `http://127.0.0.1:${port}`, stop }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/** What README tells of, with faster checks. */
function settings(port: number, servers: readonly number[]): string {
  return `
defaults
  mode http
  timeout connect 2s
  timeout check 2s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  retries 3
  option redispatch
  http-error status 503 content-type text/plain string "no replica is ready" hdr Retry-After 1
frontend errand
  bind 127.0.0.1:${port}
  default_backend replicas
backend replicas
  balance roundrobin
  option httpchk GET /readyz
  default-server check inter 100ms fall 1 rise 1
  http-response set-header served-by %s
${servers.map((one) => `  server at-${one} 127.0.0.1:${one}`).join('\n')}
`
}
