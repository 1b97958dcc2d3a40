import type { Bundle, BundlePhase } from '@errand/box'
import { openIndexProxy } from '../../packages/index-proxy.ts'
import { installSteps } from '../../packages/install-steps.ts'
import type { InstallSteps, Installation } from '../../packages/install-steps.ts'
import { Rejected } from '../backend.ts'
import type { BoxConnection } from '../box/box-connection.ts'
import { runSteps } from '../box/run-steps.ts'
import type { Filling } from './dependency-sets.ts'
import { measureCommand } from './measure-command.ts'
import type { NeededSet } from './needed-set.ts'
import { PrintedLines } from './printed-lines.ts'

/** What was not answered on the way to the index, and whether it may be when it is asked again. */
export interface IndexFault {
  words: string
  again: boolean
}

/**
 * The way to the index for one installation, at a socket that is to be shown to it.
 *
 * @param mostBytes all that it may fetch
 */
export async function openWay(
  { index }: NeededSet,
  { socketPath, mostBytes, progress }: { socketPath: string; mostBytes: number } & Pick<Filling, 'progress'>,
): Promise<{ faults: readonly IndexFault[]; close: () => Promise<void> }> {
  if (Buffer.byteLength(socketPath) > longestSocketPath)
    throw new Error(`the agent's directory has too long a path for a socket: ${socketPath}`)
  const faults: IndexFault[] = []
  const proxy = await openIndexProxy({
    index,
    socketPath,
    mostBytes,
    onBytes: (bytes) => progress.fetched(bytes),
    onRefused: (words, status) => faults.push({ words, again: status >= 500 || status === 429 }),
  })
  return { faults, close: () => proxy.close() }
}

const longestSocketPath = 107

/** What a box is to do so that a set is installed at a place, and to tell its size. */
export function installationOf(
  { runtime, interpreter, dependencies, allowInstallScripts }: NeededSet,
  way: Pick<Installation, 'dir' | 'indexUrl' | 'socketPath'>,
  step: {
    env: Readonly<Record<string, string>>
    limitMs: number
    wrapper?: readonly string[] | undefined
    /** What is to be done beside, when it is installed. */
    finally?: InstallSteps
  },
): Pick<Bundle, 'files' | 'stdin' | 'phases'> {
  const first = installSteps({ runtime, interpreter, dependencies, allowInstallScripts, ...way })
  const { files, steps } = step.finally ?? { files: [], steps: [] }
  const measuring = { argv: measureCommand(runtime, interpreter, way.dir), env: {} }
  const phases = [...first.steps, ...steps, measuring].map(({ argv, env }): BundlePhase => ({
    kind: 'question',
    limitMs: step.limitMs,
    capBytes: 8 * 1_048_576,
    killAtCap: false,
    goOn: false,
    wrapper: step.wrapper,
    argv,
    env: { ...step.env, ...env },
  }))
  return { files: [...first.files, ...files], stdin: '', phases }
}

/**
 * Has a box do that. Returns how large the set is, in bytes.
 *
 * @param faults of the way to the index, as they come
 * @param secrets what its log never shows
 * @throws {Rejected} where it would fail again, with the last that the installer said; anything else may be tried again
 */
export async function runInstallation(
  { runtime }: NeededSet,
  connection: BoxConnection,
  bundle: Bundle,
  { signal, log }: Pick<Filling, 'signal' | 'log'>,
  { faults, secrets = [] }: { faults?: readonly IndexFault[]; secrets?: readonly string[] },
): Promise<number> {
  const measuring = bundle.phases.length - 1
  const lines = new PrintedLines((stream, line) => log(stream === 'stdout' ? 'info' : 'warn', line), secrets)
  let measured = ''
  const exit = await runSteps(connection, bundle, {
    signal,
    output(step, stream, bytes) {
      if (step < measuring) lines.write(stream, bytes)
      else measured += Buffer.from(bytes).toString('latin1')
    },
  })
  lines.end()
  if (exit.step === measuring && exit.exitCode === 0 && /^\d+\s*$/.test(measured)) return Number(measured)
  const installer = runtime === 'python' ? 'pip' : 'npm'
  const how = exit.exitCode === null ? `was ended by ${exit.signal}` : `ended with ${exit.exitCode}`
  const said = exit.step === measuring ? measured.slice(0, 500) : lines.reason
  const words = `${faults?.[0] ? `${faults[0].words}; ` : ''}${installer} ${how}: ${said || 'it says nothing'}`
  // A shell's way to tell of a signal: the installer was a child of what we started.
  const byItself = exit.exitCode !== null && exit.exitCode < 128 && exit.step < measuring
  // Where nobody watches the way to the index, it may have been that.
  if (byItself && faults && !faults.some(({ again }) => again)) throw new Rejected(words)
  throw new Error(words)
}
