import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeSandboxEtc } from './sandbox.ts'
import { removeTree } from './work-dir.ts'

/** Where this backend keeps what. */
export interface Places {
  /** Tells this agent directory's executions from others' in a shared `work_dir`, also after a crash. */
  readonly mark: string
  readonly agentDir: string
  /** Only the agent's own. */
  readonly private: string
  /** What user code may see; outside the agent's directory where the agent is root. */
  readonly reachable: string
  /** Executions' directories, unless their executor names another root. */
  readonly work: string
  /** The /etc of sandboxes. */
  readonly etc: string
  /** Dependency sets, which outlive the agent. */
  readonly sets: string
  /** Ways of installations to their index. */
  readonly ways: string
}

/** @param asRoot then user code runs under uids that can't reach anything below the agent's directory */
export function placesOf(agentDir: string, asRoot: boolean): Places {
  const mark = createHash('sha256').update(agentDir).digest('hex').slice(0, 16)
  const own = join(agentDir, 'localhost')
  const reachable = asRoot ? join(reachableRoot, mark) : own
  return {
    mark,
    agentDir,
    private: own,
    reachable,
    work: join(reachable, 'work'),
    etc: join(reachable, 'etc'),
    sets: join(reachable, 'sets'),
    ways: join(reachable, 'ways'),
  }
}

const reachableRoot = '/var/lib/errand/localhost'
const ownerFile = 'agent-dir'

export function makePlaces({ agentDir, private: own, reachable, work, etc, sets, ways }: Places): void {
  mkdirSync(own, { recursive: true, mode: 0o700 })
  for (const folder of [work, sets, ways]) mkdirSync(folder, { recursive: true, mode: 0o711 })
  writeFileSync(join(reachable, ownerFile), agentDir, { mode: 0o600 })
  makeSandboxEtc(etc)
}

/** At the end of the agent; what is kept of them is the agent directory's, and goes with that. */
export async function removePlaces({ reachable, work, etc, sets, ways }: Places): Promise<void> {
  for (const folder of namesIn(sets).length > 0 ? [work, etc, ways] : [reachable]) await removeTree(folder)
}

/** The name of an execution's directory. */
export function workDirName({ mark }: Places, { id, fence }: { id: string; fence: number }): string {
  return `errand-${mark}-${id}-${fence}`
}

/** Removes the directories of executions whose agent died, and what agents kept whose own directory is gone. */
export async function removeLeftovers(places: Places, roots: readonly string[]): Promise<void> {
  for (const mark of namesIn(reachableRoot)) {
    const agentDir = readOwner(join(reachableRoot, mark, ownerFile))
    if (agentDir !== undefined && !existsSync(agentDir)) await removeTree(join(reachableRoot, mark))
  }
  for (const name of namesIn(places.ways)) await removeTree(join(places.ways, name))
  for (const root of [places.work, ...roots])
    for (const name of namesIn(root))
      if (name.startsWith(`errand-${places.mark}-`)) await removeTree(join(root, name))
}

/** None where there is no such folder, as an executor's `work_dir` may be. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** Undefined for another user's. */
function readOwner(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
