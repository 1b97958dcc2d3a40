import { getSystemErrorName } from 'node:util'
import type { Bundle, Exit } from '@errand/box'
import type { Stream } from '@errand/shared'
import type { BoxConnection } from './box-connection.ts'
import { exchange } from './exchange.ts'
import { patientKill } from './patient-kill.ts'

export interface Steps {
  /** When it is aborted the step under way is killed, with all that it started, and `aborted` thrown. */
  signal: AbortSignal
  /** What the step of this number prints. */
  output: (step: number, stream: Stream, bytes: Uint8Array) => void
}

/**
 * Runs a bundle's phases one after the other, while each ends with 0: the end of the last that ran, and its number.
 * Settles once no process of theirs is left.
 *
 * @throws what `exchange` throws; what `signal` was aborted with; where a command can't be executed
 */
export async function runSteps(
  connection: BoxConnection,
  bundle: Bundle,
  { signal, output }: Steps,
): Promise<Exit & { step: number }> {
  let step = 0
  let exit: Exit | undefined
  const { kill, end } = patientKill(connection)
  signal.throwIfAborted()
  signal.addEventListener('abort', kill)
  try {
    await exchange(connection, bundle, (frame) => {
      if (frame.type === 'output') output(step, frame.stream, frame.bytes)
      else if (frame.type === 'exited') exit = frame
      else if (frame.type === 'started') {
        step = frame.index
        // What was sent before it began may have been read then, and meant nothing.
        if (signal.aborted) kill()
      }
    })
  } finally {
    end()
    signal.removeEventListener('abort', kill)
  }
  signal.throwIfAborted()
  if (!exit) throw new Error('the box ended without a step')
  if (exit.notExecuted !== null)
    throw new Error(
      `${bundle.phases[step]!.argv[0]} cannot be started: ${getSystemErrorName(-exit.notExecuted)}`,
    )
  const { exitCode, signal: endedBy, notExecuted, killed } = exit
  return { step, exitCode, signal: endedBy, notExecuted, killed }
}
