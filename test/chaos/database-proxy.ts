import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tieSockets } from '../system/harness/tie-sockets.ts'

/** What the statements of an execution's way have in their text, each and none of the others. */
export const hotStatements = {
  submit: 'insert into execution_requests',
  claim: 'picked as materialized',
  output: 'place as (',
  finish: 'tails as (',
} as const

/**
 * Stands between an API and PostgreSQL and loses answers: a statement that a test names is sent on and done, and the
 * connection is cut when its answer, which says that it is committed, has come back as far as here.
 */
export class DatabaseProxy {
  /** Of the same database, through here. */
  readonly url: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #losing: Losing[] = []
  #paused = false

  constructor(server: Server, databaseUrl: string) {
    this.#server = server
    const { hostname, port } = new URL(databaseUrl)
    const url = new URL(databaseUrl)
    url.port = String((server.address() as AddressInfo).port)
    this.url = url.href
    server.on('connection', (near) => this.#join(near, connect(Number(port), hostname)))
  }

  /** Loses the next answer to a statement with this text in it, on its own transaction; settles when that has happened. */
  loseAnswerTo(text: string): Promise<void> {
    return new Promise((done) => this.#losing.push({ text, done }))
  }

  /** Answers nothing and breaks nothing, until `resume`. */
  pause(): void {
    this.#paused = true
    for (const socket of this.#sockets) socket.pause()
  }

  resume(): void {
    this.#paused = false
    for (const socket of this.#sockets) socket.resume()
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #join(near: Socket, far: Socket): void {
    tieSockets(near, far, this.#sockets)
    if (this.#paused) for (const socket of [near, far]) socket.pause()
    const conversation = new Conversation(this.#losing)
    const asked = splitter('untyped first', (message) => conversation.asked(message))
    near.on('data', (bytes: Buffer) => {
      asked(bytes)
      far.write(bytes)
    })
    far.on(
      'data',
      splitter('typed', (message) => {
        const what = conversation.answered(message)
        if (what === 'pass') near.write(message.whole)
        if (what === 'cut') near.resetAndDestroy()
      }),
    )
  }
}

interface Losing {
  text: string
  done: () => void
}

/** One connection, as far as it takes to know which answer belongs to which statement. */
class Conversation {
  readonly #losing: Losing[]
  readonly #texts = new Map<string, string>()
  /** The first `ReadyForQuery` comes unasked; then one for each `Sync` and each simple query. */
  #expected = 1
  #ready = 0
  #loss: { at: number; done: () => void } | undefined

  constructor(losing: Losing[]) {
    this.#losing = losing
  }

  asked({ type, body }: Message): void {
    if (type === 'P') {
      const [name = '', text = ''] = body.toString().split('\0', 2)
      this.#texts.set(name, text)
    }
    if (type === 'B') this.#bound(body.toString('latin1').split('\0', 2)[1] ?? '')
    if (type === 'S' || type === 'Q') this.#expected += 1
  }

  #bound(statement: string): void {
    const text = this.#texts.get(statement) ?? ''
    const index = this.#losing.findIndex((one) => text.includes(one.text))
    if (this.#loss || index < 0) return
    const [found] = this.#losing.splice(index, 1)
    this.#loss = { at: this.#expected + 1, done: found!.done }
  }

  answered({ type }: Message): 'pass' | 'hold' | 'cut' {
    if (type === 'Z') this.#ready += 1
    if (!this.#loss || this.#ready < this.#loss.at - 1) return 'pass'
    // The last of what was asked before still goes through.
    if (this.#ready === this.#loss.at - 1) return type === 'Z' ? 'pass' : 'hold'
    this.#loss.done()
    return 'cut'
  }
}

interface Message {
  type: string
  body: Buffer
  whole: Buffer
}

/** Calls for each whole message of PostgreSQL's protocol: a letter, a length that counts itself, the body. A client's first has no letter. */
function splitter(
  start: 'typed' | 'untyped first',
  call: (message: Message) => void,
): (bytes: Buffer) => void {
  const waiting: Buffer[] = []
  let head = start === 'typed' ? 1 : 0
  let bytesWaiting = 0
  let bytesNeeded = head + 4
  return (bytes) => {
    waiting.push(bytes)
    bytesWaiting += bytes.length
    // Joined only when there is enough: an answer may have many megabytes.
    if (bytesWaiting < bytesNeeded) return
    let rest = Buffer.concat(waiting.splice(0))
    bytesNeeded = head + 4
    while (rest.length >= bytesNeeded) {
      bytesNeeded = head + rest.readUInt32BE(head)
      if (rest.length < bytesNeeded) break
      const whole = rest.subarray(0, bytesNeeded)
      call({ type: head ? String.fromCharCode(whole[0]!) : '', body: whole.subarray(head + 4), whole })
      rest = rest.subarray(bytesNeeded)
      head = 1
      bytesNeeded = head + 4
    }
    waiting.push(rest)
    bytesWaiting = rest.length
  }
}

export async function startDatabaseProxy(databaseUrl: string): Promise<DatabaseProxy> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  return new DatabaseProxy(server, databaseUrl)
}
