import type { CheckFinding, CheckReport } from '@errand/shared'
import { describeSearch } from '../../runtimes/find-runtime.ts'
import type { FoundRuntime } from '../../runtimes/find-runtime.ts'
import { Rejected } from '../backend.ts'
import type { Check } from '../backend.ts'
import { orAborted } from '../or-aborted.ts'
import { refuseUnkeptLimits } from './refusals.ts'
import type { RemoteTarget } from './remote-target.ts'
import { SshFailure } from './ssh-failure.ts'
import type { SshFailureCode } from './ssh-failure.ts'

export interface TargetParts {
  remote: RemoteTarget
  find: () => Promise<FoundRuntime | undefined>
  /** What the executor names. */
  interpreter: string | undefined
}

/** All that a run on this target needs, looked at as a run would; what was not reached by then is left out. */
export async function checkTarget(asked: Check, parts: TargetParts): Promise<CheckReport> {
  const { remote } = parts
  const findings: CheckFinding[] = [limitsKept(asked, 'box')]
  let found: FoundRuntime | undefined
  let step: CheckFinding['what'] = 'connection'
  try {
    const { withoutBox } = await orAborted(remote.place(), asked.signal)
    if (withoutBox !== undefined) findings[0] = limitsKept(asked, 'shell')
    findings.push(...letIn(remote))
    findings.push({ what: 'sandbox', ok: true, detail: sandboxOf(withoutBox) })
    step = 'interpreter'
    found = await orAborted(parts.find(), asked.signal)
    findings.push(interpreterFound(asked, parts, found))
    step = 'disk'
    findings.push(room(await orAborted(remote.freeMb(), asked.signal)))
  } catch (error) {
    if (error instanceof SshFailure) {
      if (error.code === 'target_unfit') findings.push(...letIn(remote))
      findings.push(findingOf(error))
    } else if (asked.signal.aborted) findings.push(unanswered(step, remote))
    else throw error
  }
  return { runtime_id: found?.id ?? null, findings }
}

function letIn({ description }: RemoteTarget): CheckFinding[] {
  return [
    { what: 'connection', ok: true, detail: `connected to ${description}` },
    { what: 'host_key', ok: true, detail: 'the host key is the pinned one' },
    { what: 'authentication', ok: true, detail: 'the credentials are accepted' },
  ]
}

function unanswered(what: CheckFinding['what'], { description }: RemoteTarget): CheckFinding {
  const detail = `${description} did not answer in the time of the check`
  return {
    what,
    ok: false,
    detail,
    advice: 'see what keeps it busy, or its login shell from running commands',
  }
}

function findingOf({ code, message }: SshFailure): CheckFinding {
  return { ok: false, detail: message, ...whatAndAdvice[code] }
}

const whatAndAdvice: Record<SshFailureCode, Pick<CheckFinding, 'what' | 'advice'>> = {
  unreachable: {
    what: 'connection',
    advice: "see that sshd runs there, and that the agent's host may connect to its port",
  },
  link_lost: { what: 'connection', advice: 'try again; see the log of sshd there' },
  host_key_mismatch: {
    what: 'host_key',
    advice: 'when the target was set up anew: compare with its own key, then POST /executors/{name}/host-key',
  },
  authentication_refused: {
    what: 'authentication',
    advice: 'see username, private_key and password, and authorized_keys there',
  },
  key_unreadable: { what: 'authentication', advice: 'see private_key and passphrase' },
  target_unfit: {
    what: 'sandbox',
    advice:
      'the home directory there must take files of ours, and /bin/sh run a script with the tools of POSIX, head -c and setsid',
  },
}

function interpreterFound(
  { runtime }: Check,
  { interpreter }: TargetParts,
  found: FoundRuntime | undefined,
): CheckFinding {
  return found
    ? { what: 'interpreter', ok: true, detail: `${found.id} at ${found.interpreter}` }
    : {
        what: 'interpreter',
        ok: false,
        detail: `no interpreter for ${runtime}: looked for ${describeSearch(runtime, interpreter)}`,
        advice: 'install it on the target, or name one with code_executor_path',
      }
}

function sandboxOf(withoutBox: string | undefined): string {
  const none = 'none: code runs with all rights of the login user'
  return withoutBox === undefined
    ? none
    : `${none}; the shell there runs it, because our box cannot run: ${withoutBox}`
}

function limitsKept(asked: Check, helper: 'box' | 'shell'): CheckFinding {
  try {
    refuseUnkeptLimits(asked, helper)
    return { what: 'limits', ok: true, detail: 'every limit that is set can be kept' }
  } catch (error) {
    if (!(error instanceof Rejected)) throw error
    const advice = 'leave them out of the executor, or use a docker executor'
    return { what: 'limits', ok: false, detail: error.message, advice }
  }
}

function room(freeMb: number | undefined): CheckFinding {
  if (freeMb === undefined)
    return { what: 'disk', ok: true, detail: 'the target does not tell how much is free' }
  return {
    what: 'disk',
    ok: freeMb >= leastFreeMb,
    detail: `${freeMb} MB are free in ~/.errand`,
    ...(freeMb < leastFreeMb && { advice: `make room: at least ${leastFreeMb} MB` }),
  }
}

/** The largest submission and the largest output of one run, with room to spare. */
const leastFreeMb = 256
