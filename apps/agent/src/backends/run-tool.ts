import { execa } from 'execa'
import { searchPath } from '../runtimes/find-runtime.ts'

/**
 * Runs a tool of the host to its end and answers what it printed, both streams. Throws when it fails, and when it takes
 * longer than `timeoutMs` (20 s; 0: as long as it wants).
 */
export async function runTool(
  tool: string,
  args: readonly string[],
  options: { uid?: number | undefined; cwd?: string; env?: Record<string, string>; timeoutMs?: number } = {},
): Promise<string> {
  const { all } = await execa(tool, args, {
    cwd: options.cwd ?? '/',
    env: { PATH: searchPath.join(':'), LC_ALL: 'C', ...options.env },
    extendEnv: false,
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
    stdin: 'ignore',
    all: true,
    maxBuffer: 1024 * 1024,
    timeout: options.timeoutMs ?? 20_000,
    killDescendants: true,
    forceKillAfterDelay: 0,
    cleanup: false,
  })
  return all
}
