import { statfs } from 'node:fs/promises'
import type { CheckFinding, CheckReport, LocalhostExecutor } from '@errand/shared'
import { describeSearch } from '../../runtimes/find-runtime.ts'
import type { RuntimeLookup } from '../../runtimes/remember-runtimes.ts'
import { Rejected } from '../backend.ts'
import type { Check } from '../backend.ts'
import { refuseSharedRoot, refuseUnkeptLimits } from './refusals.ts'

export interface HostParts {
  /** Of sandboxed runs, unless the executor wants none; else of plain ones. */
  lookup: RuntimeLookup
  /** Why there is no sandbox, where the executor wants one. */
  fault: string | undefined
  /** Where executions' directories are made. */
  workRoot: string
}

/** Everything that a run on this host would be refused for, and whether there is room for it. */
export async function checkHost(asked: Check, { lookup, fault, workRoot }: HostParts): Promise<CheckReport> {
  const settings = asked.executor.settings as LocalhostExecutor
  const { runtime } = asked
  const path = settings.runtime === runtime ? settings.code_executor_path : undefined
  const found = await lookup(runtime, path)
  return {
    runtime_id: found?.id ?? null,
    findings: [
      { what: 'sandbox', ok: fault === undefined, detail: fault ?? sandboxOf(settings) },
      found
        ? { what: 'interpreter', ok: true, detail: `${found.id} at ${found.interpreter}` }
        : {
            what: 'interpreter',
            ok: false,
            detail: `no interpreter for ${runtime}: looked for ${describeSearch(runtime, path)}`,
            advice: 'install it on the host of the agent, or name one with code_executor_path',
          },
      limitsKept(asked),
      await room(settings, workRoot),
    ],
  }
}

function sandboxOf({ sandbox }: LocalhostExecutor): string {
  return sandbox === 'none' ? 'runs without a sandbox, as the executor says' : 'bubblewrap works'
}

function limitsKept(asked: Check): CheckFinding {
  const refused = rejection(() => refuseUnkeptLimits(asked))
  if (refused === undefined)
    return { what: 'limits', ok: true, detail: 'every limit that is set can be kept' }
  return {
    what: 'limits',
    ok: false,
    detail: refused,
    advice: 'leave them out of the executor, or use a docker executor',
  }
}

async function room({ work_dir }: LocalhostExecutor, workRoot: string): Promise<CheckFinding> {
  const refused = work_dir === undefined ? undefined : rejection(() => refuseSharedRoot(work_dir))
  if (refused !== undefined)
    return {
      what: 'disk',
      ok: false,
      detail: refused,
      advice: 'make it a directory that only its owner may write to',
    }
  const { bavail, bsize } = await statfs(workRoot)
  const freeMb = Math.floor((bavail * bsize) / (1024 * 1024))
  return {
    what: 'disk',
    ok: freeMb >= leastFreeMb,
    detail: `${freeMb} MB are free in ${workRoot}`,
    ...(freeMb < leastFreeMb && { advice: `make room: at least ${leastFreeMb} MB` }),
  }
}

/** The largest submission and the largest output of one run, with room to spare. */
const leastFreeMb = 256

function rejection(act: () => void): string | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    if (error instanceof Rejected) return error.message
    throw error
  }
}
