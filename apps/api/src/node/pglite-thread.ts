import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { Unavailable } from '../store/database.ts'

/** What goes to the worker. `id` names the answer; that of `begin` also names the transaction. */
export type PgliteCall = { id: number } & PgliteAct
export type PgliteAct =
  | {
      kind: 'query'
      text: string
      params: readonly unknown[]
      asArrays: boolean
      transaction?: number | undefined
    }
  | { kind: 'begin' }
  | { kind: 'commit' | 'rollback'; transaction: number }
  | { kind: 'close' }

export interface PgliteReply {
  id: number
  rows?: unknown[]
  error?: { message: string; code?: string | undefined; constraint?: string | undefined }
}

/** A statement that PGlite refused; `code` is its SQLSTATE. */
export class PgliteError extends Error {
  readonly code: string | undefined
  readonly constraint: string | undefined

  constructor(given: NonNullable<PgliteReply['error']>) {
    super(given.message)
    this.name = 'PgliteError'
    this.code = given.code
    this.constraint = given.constraint
  }
}

export interface PgliteThread {
  /** The worker's answer, and the id of the call. */
  call(act: PgliteAct): Promise<{ id: number; rows: unknown[] }>
  close(): Promise<void>
  /** Ends the thread as a crash would. */
  terminate(): void
}

/**
 * Starts the worker and waits until its database is open. When it dies every call fails, now and from then on, and
 * `onCrash` is told: what it held in memory is gone, so the process has to start anew.
 */
export async function startPgliteThread(
  dataDir: string,
  onCrash: (error: Error) => void,
): Promise<PgliteThread> {
  const worker = new Worker(new URL('./pglite-worker.ts', import.meta.url), { workerData: { dataDir } })
  const waiting = new Map<number, { resolve(rows: unknown[]): void; reject(error: Error): void }>()
  let nextId = 1
  let ended: Error | undefined
  let closing = false

  // Rejects on 'error', so that a directory that can't be opened is told to the caller and not to `onCrash`.
  const opened = once(worker, 'message')
  const exited = once(worker, 'exit')
  exited.catch(() => {})
  await opened
  worker.on('message', ({ id, rows, error }: PgliteReply) => {
    const call = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) call?.resolve(rows ?? [])
    else call?.reject(new PgliteError(error))
  })
  worker.on('error', (error: Error) => crashed(error))
  worker.on('exit', (code: number) => crashed(new Error(`the database's thread ended with code ${code}`)))

  return { call, close, terminate: () => void worker.terminate() }

  function call(act: PgliteAct): Promise<{ id: number; rows: unknown[] }> {
    if (ended !== undefined) return Promise.reject(ended)
    const id = nextId++
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve: (rows) => resolve({ id, rows }), reject })
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
      worker.postMessage({ id, ...act })
    })
  }

  async function close(): Promise<void> {
    if (closing || ended !== undefined) return
    closing = true
    await call({ kind: 'close' })
    ended = new Unavailable(new Error('the database is closed'))
    await worker.terminate()
  }

  function crashed(error: Error): void {
    if (ended !== undefined) return
    ended = new Unavailable(error)
    for (const one of waiting.values()) one.reject(ended)
    waiting.clear()
    if (!closing) onCrash(error)
  }
}
