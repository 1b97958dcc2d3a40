import { constants } from 'node:os'

/** How a sandboxed command ended, as the descriptor tells to which bubblewrap and setsid write. */
export interface SandboxReport {
  /** The sandbox's first process, in the host's numbers: when it has gone, everything inside has. */
  init: number | undefined
  /** Null where the command was never reached or its end not seen. */
  end: { exitCode: number; signal: null } | { exitCode: null; signal: string } | null
  /** What else was written there: why there is no sandbox. */
  text: string
}

/**
 * bubblewrap's own exit code would not do: it makes 137 of `exit 137` and of SIGKILL. `setsid --wait` in between writes
 * a line when its child was ended by a signal, and exits with that signal's number; else it writes nothing.
 * A program may get at the descriptor and write here too, but only about itself: the first line is
 * bubblewrap's, written before the program starts.
 */
export function readSandboxReport(note: string): SandboxReport {
  const [first = '', ...rest] = note.split('\n')
  const lines = [first, ...rest].filter((line) => line !== '' && !line.startsWith('{'))
  const init = /^\{ "child-pid": (\d+)/.exec(first)?.[1]
  const code = /^\{ "exit-code": (\d+) \}$/m.exec(note)?.[1]
  return {
    init: init === undefined ? undefined : Number(init),
    end:
      code === undefined
        ? null
        : endOf(
            Number(code),
            lines.some((line) => line.startsWith('setsid: child ')),
          ),
    text: lines.join('; '),
  }
}

/** `SIGSEGV` of 11; real-time signals have no names of their own. */
export function signalName(number: number): string {
  const known = Object.entries(constants.signals).find(([, value]) => value === number)
  return known?.[0] ?? `SIG${number}`
}

function endOf(code: number, bySignal: boolean): SandboxReport['end'] {
  // Its eighth bit says that there is a core dump.
  return bySignal ? { exitCode: null, signal: signalName(code & 0x7f) } : { exitCode: code, signal: null }
}
