import { lstatSync } from 'node:fs'
import { rmdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Program } from '../../runtimes/program.ts'
import { runTool } from '../run-tool.ts'

/** Where one execution's files lie and where it runs, and where it may put temporary files. */
export interface WorkDir {
  readonly work: string
  /** Undefined where a sandbox has a /tmp of its own. */
  readonly tmp: string | undefined
}

/**
 * Removes both, whatever the program left there: folders without permissions, deep trees, links (which are not
 * followed). No process of the execution may be alive.
 *
 * @throws when something stays
 */
export async function removeWorkDir({ work, tmp }: WorkDir, program: Program): Promise<void> {
  // Not by the blocking calls: a busy disk's journal would hold up every other run of the agent.
  if (!(await removeUntouched(work, program))) await removeTree(work)
  if (tmp !== undefined && !(await removeEmpty(tmp))) await removeTree(tmp)
}

/**
 * However much there is: a program may have made millions of files. What fails (a host without a free pid, say) is
 * tried again a few times.
 *
 * @throws when it stays
 */
export async function removeTree(path: string, run = runTool): Promise<void> {
  const withoutEnd = { timeoutMs: 0 }
  for (let attempt = 0; ; attempt++) {
    // Not Node's own: that fails on paths longer than PATH_MAX and blocks, or floods the thread pool.
    const failed = await run('rm', ['-rf', '--', path], withoutEnd).then(
      () => undefined,
      (error: unknown) => error,
    )
    if (!exists(path)) return
    const waitMs = retryAfterMs[attempt]
    if (waitMs === undefined) throw failed ?? new Error(`${path} stays`)
    await sleep(waitMs)
    // Only root removes what lies in a folder without permissions.
    await run('chmod', ['-R', 'u+rwx', '--', path], withoutEnd).catch(() => {})
  }
}

const retryAfterMs = [0, 100, 300, 1_000]

/** The way of most runs, without a process: only the one file that we wrote is there. */
async function removeUntouched(work: string, { files }: Program): Promise<boolean> {
  const [only, ...others] = files
  if (!only || others.length > 0 || only.path.includes('/')) return false
  try {
    await unlink(join(work, only.path))
  } catch {
    return false
  }
  return removeEmpty(work)
}

async function removeEmpty(folder: string): Promise<boolean> {
  try {
    await rmdir(folder)
    return true
  } catch {
    return false
  }
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
