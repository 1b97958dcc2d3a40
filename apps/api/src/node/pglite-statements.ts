import { protocol, types, type PGlite } from '@electric-sql/pglite'
import { LRUCache } from 'lru-cache'

type Messages = Awaited<ReturnType<PGlite['execProtocol']>>['messages']

interface Prepared {
  name: string
  paramTypes: readonly number[]
  columns: readonly { name: string; dataTypeID: number }[]
}

export interface Statements {
  /** Rows as objects, or as arrays in the order of the columns. Throws PGlite's `DatabaseError`. */
  run: (text: string, params?: readonly unknown[], asArrays?: boolean) => Promise<unknown[]>
}

/**
 * Runs statements that are parsed and planned once. PGlite's own `query` does both each time, in six trips into the
 * WebAssembly, which for our longest statement takes several times longer than running it.
 */
export function createStatements(pglite: PGlite): Statements {
  const known = new LRUCache<string, Prepared>({ max: 500, dispose: ({ name }) => void forget(name) })
  let made = 0

  return { run }

  async function run(text: string, params: readonly unknown[] = [], asArrays = false): Promise<unknown[]> {
    const { name, paramTypes, columns } = known.get(text) ?? (await prepare(text))
    const values = params.map((value, at) => serialize(value, paramTypes[at]!))
    const messages = await send([
      protocol.serialize.bind({ statement: name, values }),
      protocol.serialize.execute({}),
      protocol.serialize.sync(),
    ])
    return rowsOf(messages).map((fields) => {
      const parsed = fields.map((field, at) =>
        types.parseType(field, columns[at]!.dataTypeID, pglite.parsers),
      )
      return asArrays ? parsed : Object.fromEntries(parsed.map((value, at) => [columns[at]!.name, value]))
    })
  }

  async function prepare(text: string): Promise<Prepared> {
    const name = `errand_${++made}`
    const messages = await send([
      protocol.serialize.parse({ name, text }),
      protocol.serialize.describe({ type: 'S', name }),
      protocol.serialize.sync(),
    ])
    const prepared = { name, ...described(messages) }
    known.set(text, prepared)
    return prepared
  }

  async function forget(name: string): Promise<void> {
    await send([protocol.serialize.close({ type: 'S', name }), protocol.serialize.sync()])
  }

  async function send(parts: readonly Uint8Array[]): Promise<Messages> {
    const { messages } = await pglite.runExclusive(() =>
      pglite.execProtocol(joined(parts), { syncToFs: false }),
    )
    return messages
  }

  function serialize(value: unknown, type: number): string | null {
    if (value === null || value === undefined) return null
    // What has no serialiser of its own (uuid, for one) is text already.
    return pglite.serializers[type]?.(value) ?? (value as string)
  }
}

function described(messages: Messages): Omit<Prepared, 'name'> {
  let found: Omit<Prepared, 'name'> = { paramTypes: [], columns: [] }
  for (const message of messages) {
    if (message.name === 'parameterDescription')
      found = { ...found, paramTypes: (message as unknown as { dataTypeIDs: number[] }).dataTypeIDs }
    if (message.name === 'rowDescription')
      found = { ...found, columns: (message as unknown as { fields: Prepared['columns'] }).fields }
  }
  return found
}

function rowsOf(messages: Messages): (string | null)[][] {
  return messages
    .filter((message) => message.name === 'dataRow')
    .map((message) => (message as unknown as { fields: (string | null)[] }).fields)
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
