import { parentPort, workerData, type MessagePort } from 'node:worker_threads'
import { PGlite, types, type Transaction } from '@electric-sql/pglite'
import type { PgliteCall, PgliteReply } from './pglite-thread.ts'

/**
 * The worker thread that PGlite runs in: WebAssembly blocks its thread, and the API's must stay free. Calls come in
 * order; those of an open transaction name it, all others wait for its end.
 */
async function main(port: MessagePort, dataDir: string): Promise<void> {
  const pglite = await PGlite.create({
    dataDir,
    parsers: { [types.INT8]: Number },
    // What comes is JSON text already: from us and from the builder.
    serializers: { [types.JSON]: String, [types.JSONB]: String },
  })
  const open = new Map<number, OpenTransaction>()
  port.on('message', (call: PgliteCall) => void answer(call))
  port.postMessage({ ready: true })

  async function answer(call: PgliteCall): Promise<void> {
    try {
      reply({ id: call.id, rows: await act(call) })
    } catch (error) {
      reply({ id: call.id, error: describe(error) })
    }
  }

  async function act(call: PgliteCall): Promise<unknown[]> {
    switch (call.kind) {
      case 'query':
        return query(call.transaction === undefined ? pglite : transactionOf(call.transaction), call)
      case 'exec':
        await pglite.exec(call.text)
        return []
      case 'begin':
        open.set(call.id, await begin(pglite))
        return []
      case 'commit':
      case 'rollback': {
        const ending = open.get(call.transaction)
        open.delete(call.transaction)
        await ending?.end(call.kind)
        return []
      }
      case 'close':
        await pglite.close()
        return []
    }
  }

  function transactionOf(id: number): Transaction {
    const found = open.get(id)
    if (found === undefined) throw new Error('this transaction is over')
    return found.tx
  }

  function reply(answer: PgliteReply): void {
    port.postMessage(answer, answer.rows === undefined ? [] : buffersOf(answer.rows))
  }
}

async function query(
  on: Pick<PGlite | Transaction, 'query'>,
  call: PgliteCall & { kind: 'query' },
): Promise<unknown[]> {
  const options = call.asArrays ? ({ rowMode: 'array' } as const) : {}
  const { rows } = await on.query<unknown>(call.text, [...call.params], options)
  return rows
}

interface OpenTransaction {
  tx: Transaction
  end(how: 'commit' | 'rollback'): Promise<void>
}

/** PGlite's transactions are callbacks; this holds one open until `end`. */
async function begin(pglite: PGlite): Promise<OpenTransaction> {
  const begun = Promise.withResolvers<Transaction>()
  const ended = Promise.withResolvers<'commit' | 'rollback'>()
  const done = pglite.transaction(async (tx) => {
    begun.resolve(tx)
    if ((await ended.promise) === 'rollback') await tx.rollback()
  })
  done.catch(begun.reject)
  const tx = await begun.promise
  return {
    tx,
    end(how) {
      ended.resolve(how)
      return done
    },
  }
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
