import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, ClientChannel, ParsedKey } from 'ssh2'
import { connect } from './connect.ts'
import { readPrivateKey } from './private-key.ts'
import { SshFailure } from './ssh-failure.ts'
import { describeTarget } from './target.ts'
import type { Target } from './target.ts'

/** sshd allows 10 sessions a connection, and frees each some time after we have heard of its end. */
const channelsEach = 5
/** sshd drops connections while many others are about to log in. */
const connectPauseMs = 50

interface Connection {
  client: Promise<Client>
  channels: number
  /** Takes no more channels: it has broken, or the target refused one. */
  spent: boolean
  idle: NodeJS.Timeout | undefined
}

/** The connections to one target, as many as their channels need. */
export class Connections {
  readonly #target: Target
  readonly #random: () => number
  readonly #idleMs: number
  readonly #all = new Set<Connection>()
  #connecting = 0
  /** Kept as long as there are connections: a passphrase is made slow to try, and that blocks us. */
  #key: Promise<ParsedKey> | undefined
  /** Called when none is left. */
  onNone: () => void = () => {}

  constructor(target: Target, { random, idleMs }: { random: () => number; idleMs: number }) {
    this.#target = target
    this.#random = random
    this.#idleMs = idleMs
  }

  /**
   * Runs a command in a channel of its own; it is there until the channel has closed. A channel that is refused means
   * a new connection, once.
   *
   * @throws {SshFailure}
   */
  async exec(command: string): Promise<ClientChannel> {
    try {
      return await this.#execOn(this.#withRoom(), command)
    } catch (error) {
      if (!(error instanceof ChannelRefused)) throw error
    }
    try {
      return await this.#execOn(this.#open(), command)
    } catch (error) {
      if (!(error instanceof ChannelRefused)) throw error
      throw new SshFailure('link_lost', `${describeTarget(this.#target)} opens no channel: ${error.message}`)
    }
  }

  /** Ends all of them, with what runs in their channels. */
  close(): void {
    for (const connection of this.#all) this.#end(connection)
  }

  /** Cuts all of them at once: their channels close without a word. */
  destroy(): void {
    for (const connection of this.#all) {
      this.#forget(connection)
      connection.client.then(
        (client) => client.destroy(),
        () => {},
      )
    }
  }

  async #execOn(connection: Connection, command: string): Promise<ClientChannel> {
    clearTimeout(connection.idle)
    connection.channels += 1
    try {
      const client = await connection.client
      const channel = await open(client, command)
      channel.once('close', () => this.#release(connection))
      return channel
    } catch (error) {
      if (error instanceof ChannelRefused) connection.spent = true
      this.#release(connection)
      throw error
    }
  }

  #withRoom(): Connection {
    for (const connection of this.#all)
      if (!connection.spent && connection.channels < channelsEach) return connection
    return this.#open()
  }

  #open(): Connection {
    const connection: Connection = { client: this.#connect(), channels: 0, spent: false, idle: undefined }
    this.#all.add(connection)
    connection.client.then(
      (client) => client.once('close', () => this.#forget(connection)),
      () => this.#forget(connection),
    )
    return connection
  }

  async #connect(): Promise<Client> {
    const others = this.#connecting++
    try {
      if (others > 0) await sleep(others * connectPauseMs * (0.5 + this.#random()))
      return await connect(this.#target, await this.#privateKey(), this.#random)
    } finally {
      this.#connecting -= 1
    }
  }

  #privateKey(): Promise<ParsedKey> | undefined {
    const { privateKey, passphrase } = this.#target
    if (privateKey !== undefined) this.#key ??= readPrivateKey(privateKey, passphrase)
    return this.#key
  }

  #release(connection: Connection): void {
    connection.channels -= 1
    if (connection.channels > 0 || !this.#all.has(connection)) return
    if (connection.spent) this.#end(connection)
    else connection.idle = setTimeout(() => this.#end(connection), this.#idleMs).unref()
  }

  #end(connection: Connection): void {
    this.#forget(connection)
    connection.client.then(
      (client) => client.end(),
      () => {},
    )
  }

  #forget(connection: Connection): void {
    connection.spent = true
    clearTimeout(connection.idle)
    if (!this.#all.delete(connection) || this.#all.size > 0) return
    this.#key = undefined
    this.onNone()
  }
}

function open(client: Client, command: string): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    try {
      client.exec(command, (error, channel) =>
        error ? reject(new ChannelRefused(error.message)) : resolve(channel),
      )
    } catch (error) {
      // the connection has ended
      reject(new ChannelRefused(error instanceof Error ? error.message : String(error)))
    }
  })
}

class ChannelRefused extends Error {}
