import type { WorkDir } from './work-dir.ts'

/** What to run, in the program's own terms. */
export interface Command {
  words: readonly string[]
  env: Readonly<Record<string, string>>
  dir: WorkDir
  /** Tools outside /usr that it may start. */
  tools: readonly string[]
}

/** The ends of the pipes that the program gets. */
export interface Ends {
  stdin: number | 'ignore'
  stdout: number
  stderr: number
}

/** A process to start, in a process group of its own. */
export interface Launch {
  file: string
  args: readonly string[]
  env: Readonly<Record<string, string>>
  cwd: string
  stdio: readonly [number | 'ignore', number, number, ...number[]]
  /**
   * To be called once its main process has ended: kills what is left of the tree, and settles when nothing is.
   * Answers how the program ended; throws when that was our own failure.
   */
  settle(ended: Ended): Promise<Exit>
  /** Gives back what it took, started or not. */
  close(): void
}

/** How the process that we started ended. */
export interface Ended {
  pid: number
  exitCode: number | undefined
  signal: string | undefined
  /** We killed it. */
  stopped: boolean
  /** How long it ran. */
  ms: number
}

export type Exit = { exitCode: number; signal: null } | { exitCode: null; signal: string }
