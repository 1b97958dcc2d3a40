import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { agentPolicy, timeConstants } from '@errand/shared'
import type { AgentPolicy, TimeConstants } from '@errand/shared'
import type { Claim } from '../../apps/agent/src/claim.ts'
import type { Backend } from '../../apps/agent/src/backends/backend.ts'
import { createDocker } from '../../apps/agent/src/backends/docker/docker.ts'
import { labels } from '../../apps/agent/src/backends/docker/labels.ts'

export interface OpenDocker {
  backend: Backend
  /** Marks what is this backend's on the Engine. */
  mark: string
  /** What an agent would have written to its log at `warn` and above. */
  logged: string[]
  agentDir: string
  /** Names of all that this backend left on the Engine but the volume of its box and dependency sets. */
  leftovers(): string[]
  /** What of it is still there after 45 s: removal may go on after a result, and the Engine may have much to do. */
  lasting(): Promise<string[]>
  close(): Promise<void>
}

/** A docker backend on the Engine at this socket, which it reaches by another where one is given. */
export async function openDocker(
  socketPath: string,
  given: {
    mark?: string
    /** A temporary one where absent. */
    agentDir?: string
    time?: Partial<TimeConstants>
    reachedBy?: string
    /** Runs of an earlier backend of this mark that are going to be adopted. */
    adopted?: Claim[]
    /** In its place. */
    host?: string
    policy?: Partial<AgentPolicy>
    now?: () => number
    /** Whether its directory stays when it is closed. */
    keep?: boolean
  } = {},
): Promise<OpenDocker> {
  const mark = given.mark ?? crypto.randomUUID()
  const agentDir = given.agentDir ?? mkdtempSync(join(tmpdir(), 'errand-contract-docker-'))
  const logged: string[] = []
  const silent = (): void => {}
  const keep = (fields: object, message: string): void =>
    void logged.push(`${message} ${'err' in fields ? String(fields.err) : ''}`)
  const backend = createDocker(
    {
      agentDir,
      spoolId: mark,
      slots: 8,
      maintenanceSlots: 2,
      stockChanged: () => {},
      now: given.now ?? Date.now,
      policy: { ...agentPolicy.parse({}), ...given.policy },
      time: { ...timeConstants, ...given.time },
      log: { debug: silent, info: silent, warn: keep, error: keep },
    },
    { DOCKER_HOST: given.host ?? `unix://${given.reachedBy ?? socketPath}` },
  )
  await backend.recover(given.adopted ?? [])
  const named = (...args: string[]): string[] =>
    docker(socketPath, ...args, `--filter=label=${labels.agent}=${mark}`)
  const leftovers = (): string[] => [
    ...named('ps', '--all', '--format={{.Names}}'),
    ...named('volume', 'ls', '--format={{.Name}}')
      .filter((name) => !name.startsWith('errand-set-'))
      .slice(1),
  ]
  return {
    backend,
    mark,
    agentDir,
    logged,
    leftovers,
    async lasting() {
      const deadline = performance.now() + 45_000
      let left = leftovers()
      while (left.length > 0 && performance.now() < deadline) {
        await sleep(50)
        left = leftovers()
      }
      return left
    },
    async close() {
      await backend.close()
      if (given.agentDir === undefined && !given.keep) rmSync(agentDir, { recursive: true, force: true })
    },
  }
}

/** For after each test. */
export async function leavesNothing(opened: OpenDocker): Promise<void> {
  const left = await opened.lasting()
  if (left.length > 0) throw new Error(`left on the Engine: ${left.join(', ')}`)
}

/** The lines that Docker's own client prints. */
export function docker(socketPath: string, ...args: string[]): string[] {
  const text = execFileSync('docker', ['--host', `unix://${socketPath}`, ...args], { encoding: 'utf8' })
  return text.split('\n').filter((line) => line !== '')
}
