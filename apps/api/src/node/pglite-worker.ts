import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { PGlite, types } from '@electric-sql/pglite'
import { createStatements } from './pglite-statements.ts'
import type { PgliteCall, PgliteReply } from './pglite-thread.ts'

/**
 * The worker thread that PGlite runs in: WebAssembly blocks its thread, and the API's must stay free. There is one
 * connection: calls are worked off in order, and while a transaction is open only its own.
 */
async function main(port: MessagePort, dataDir: string): Promise<void> {
  const pglite = await PGlite.create({
    dataDir,
    parsers: { [types.INT8]: Number },
    // What comes is JSON text already: from us and from the builder.
    serializers: { [types.JSON]: String, [types.JSONB]: String },
  })
  const { run } = createStatements(pglite)
  const endings = new Map<number, (how: 'commit' | 'rollback') => Promise<void>>()
  /** Settles when the connection is free. */
  let free: Promise<unknown> = Promise.resolve()
  port.on('message', (call: PgliteCall) => void answer(call))
  port.postMessage({ ready: true })

  async function answer(call: PgliteCall): Promise<void> {
    try {
      reply({ id: call.id, rows: await act(call) })
    } catch (error) {
      reply({ id: call.id, error: describe(error) })
      // After an abort inside the WebAssembly nothing works any more: end this thread, and with it the API.
      if (isAbort(error)) throw error
    }
  }

  async function act(call: PgliteCall): Promise<unknown[]> {
    switch (call.kind) {
      case 'query': {
        const query = () => run(call.text, call.params, call.asArrays)
        if (call.transaction === undefined) return alone(query)
        if (!endings.has(call.transaction)) throw new Error('this transaction is over')
        return query()
      }
      case 'begin':
        await begin(call.id)
        break
      case 'commit':
      case 'rollback':
        await endings.get(call.transaction)?.(call.kind)
        break
      case 'close':
        await alone(() => pglite.close())
    }
    return []
  }

  function alone<T>(query: () => Promise<T>): Promise<T> {
    const done = free.then(query)
    free = done.catch(() => {})
    return done
  }

  /** Resolves once the transaction is open; it keeps the connection until it is ended. */
  async function begin(id: number): Promise<void> {
    const { promise: ended, resolve: release } = Promise.withResolvers<void>()
    const opened = free.then(() => run('begin'))
    free = opened.then(() => ended).catch(() => {})
    await opened
    endings.set(id, async (how) => {
      endings.delete(id)
      try {
        await run(how)
      } finally {
        release()
      }
    })
  }

  function reply(answer: PgliteReply): void {
    port.postMessage(answer, answer.rows === undefined ? [] : buffersOf(answer.rows))
  }
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && ['RuntimeError', 'ExitStatus'].includes(error.name)
}

/** Bytes that own their memory are handed over instead of copied. */
function buffersOf(rows: readonly unknown[]): ArrayBuffer[] {
  const found = new Set<ArrayBuffer>()
  for (const row of rows)
    for (const value of Object.values(row as object))
      if (value instanceof Uint8Array && value.length === value.buffer.byteLength)
        found.add(value.buffer as ArrayBuffer)
  return [...found]
}

/** What survives the way to the other thread: an error's own fields would not. */
function describe(error: unknown): PgliteReply['error'] {
  if (!(error instanceof Error)) return { message: String(error) }
  const { code, constraint } = error as { code?: string; constraint?: string }
  return { message: error.message, code, constraint }
}

if (parentPort === null) throw new Error('this file is a worker')
await main(parentPort, (workerData as { dataDir: string }).dataDir)
