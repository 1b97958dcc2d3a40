import type { Bundle, Exit, Frame } from '@errand/box'
import type { BoxConnection } from './box-connection.ts'
import { exchange } from './exchange.ts'

/** What one `question` phase came to. */
export interface Answer extends Exit {
  stdout: string
  stderr: string
}

/** Runs a bundle's questions one after the other, whatever each comes to (`goOn`): their answers in order. */
export async function askInBox(connection: BoxConnection, bundle: Bundle): Promise<Answer[]> {
  const answers: Answer[] = []
  let printed: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
  let exit: Extract<Frame, { type: 'exited' }> | undefined
  await exchange(connection, bundle, (frame) => {
    if (frame.type === 'output') printed[frame.stream].push(Buffer.from(frame.bytes))
    else if (frame.type === 'exited') exit = frame
    else if (frame.type === 'ended' && exit) {
      const { exitCode, signal, notExecuted, killed } = exit
      const text = (stream: 'stdout' | 'stderr'): string => Buffer.concat(printed[stream]).toString('utf8')
      answers.push({ exitCode, signal, notExecuted, killed, stdout: text('stdout'), stderr: text('stderr') })
      printed = { stdout: [], stderr: [] }
      exit = undefined
    }
  })
  return answers
}
