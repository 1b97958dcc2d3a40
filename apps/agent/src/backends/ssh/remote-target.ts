import type { Log } from '../../log.ts'
import { Connections } from './connections.ts'
import { executed } from './executed.ts'
import type { Executed } from './executed.ts'
import { prepareTarget } from './prepare-target.ts'
import type { FindBox, Marks, Place } from './prepare-target.ts'
import { runScript } from './run-script.ts'
import { shCommand } from './sh-command.ts'
import { ShellStation } from './shell-station.ts'
import { SshFailure } from './ssh-failure.ts'
import { BoxStation } from './station.ts'
import type { Station } from './station.ts'
import { describeTarget } from './target.ts'
import type { Target } from './target.ts'

export interface RemoteTargetParts {
  target: Target
  marks: Marks
  random: () => number
  log: Log
  idleMs: number
  findBox: FindBox
  /** Names of runs of which something may be left on the target. */
  abandoned: Set<string>
  /** Of those that an earlier process of this agent began and this one goes on with. */
  adopted: ReadonlySet<string>
  /** Names of installations of dependency sets that are under way there. */
  installing: ReadonlySet<string>
  /** It holds no connection. */
  forget: () => void
}

/** It gives a run less than 4 s to end. */
const killLimitMs = 10_000

/** With which `box kill` exits. */
const noSuchRun = 3

/** A target with what we have there: connections, the box, stations that wait for runs. */
export class RemoteTarget {
  readonly #parts: RemoteTargetParts
  readonly #connections: Connections
  /** Stations that wait, with what ends them when nothing comes. */
  readonly #idle = new Map<Station, NodeJS.Timeout>()
  /** The box there, once it was. */
  #helper: string | undefined
  #place: { ready: Promise<Place>; swept: readonly string[] } | undefined

  constructor(parts: RemoteTargetParts) {
    this.#parts = parts
    this.#connections = new Connections(parts.target, parts)
    // What we knew of it may be otherwise when we come again.
    this.#connections.onNone = () => {
      this.#place = undefined
      parts.forget()
    }
  }

  /** For people. */
  get description(): string {
    return describeTarget(this.#parts.target)
  }

  /** The name of the directory of a run that is to begin. */
  nameFor(run: string): string {
    const { agent, session } = this.#parts.marks
    return `${agent}-${session}-${run}`
  }

  /**
   * What we have there, made and swept before the first run, and again when a run was abandoned.
   *
   * @throws {SshFailure}
   */
  place(): Promise<Place> {
    const { abandoned, adopted, installing, marks, log, findBox } = this.#parts
    const known = this.#place
    if (known && [...abandoned].every((name) => known.swept.includes(name))) return known.ready
    const swept = [...abandoned]
    const left = { runs: swept, adopted: [...adopted], installing: [...installing] }
    const ready = prepareTarget(this.#connections, marks, left, log, findBox)
    const made = { ready, swept }
    this.#place = made
    ready.then(
      ({ helper }) => {
        this.#helper = helper
        swept.forEach((name) => abandoned.delete(name))
      },
      () => {
        if (this.#place === made) this.#place = undefined
      },
    )
    return ready
  }

  /** What we had there is gone: it is made again before the next station. */
  missesPlace(): void {
    this.#place = undefined
  }

  /**
   * One that waits for a run; to be handed back.
   *
   * @throws {SshFailure}
   */
  async station(): Promise<Station> {
    const { helper, withoutBox } = await this.place()
    if (withoutBox !== undefined)
      return new ShellStation(
        (words) => this.#connections.exec(shCommand(`exec ${helper} ${words}`)),
        // Whoever waits for it sees to it by other means soon.
        (name) => void this.#kill(this.#connections, helper, name).catch(() => {}),
      )
    // The latest: of many, most are let go when fewer are needed.
    const waiting = [...this.#idle.keys()].at(-1)
    if (waiting) {
      this.#take(waiting)
      return waiting
    }
    const station = new BoxStation(await this.#connections.exec(shCommand(`exec ${helper} station`)))
    station.onceClosed(() => this.#take(station))
    return station
  }

  handBack(station: Station): void {
    station.rest()
    if (!station.closed)
      this.#idle.set(station, setTimeout(() => station.close(), this.#parts.idleMs).unref())
  }

  /** Ends a run by a connection of its own: code may have stopped what serves ours. */
  async kill(name: string): Promise<'ended' | 'no_such_run' | 'unknown'> {
    const helper = this.#helper ?? (await this.place()).helper
    const connections = new Connections(this.#parts.target, this.#parts)
    try {
      const code = await this.#kill(connections, helper, name)
      return code === 0 ? 'ended' : code === noSuchRun ? 'no_such_run' : 'unknown'
    } finally {
      connections.close()
    }
  }

  /**
   * Has a shell there read a script, with these words as its arguments.
   *
   * @throws {SshFailure}
   */
  async ask(script: Uint8Array, words: readonly string[], limitMs?: number): Promise<Executed> {
    await this.place()
    const ended = await runScript(this.#connections, script, words, limitMs)
    if (ended.code === null) throw new SshFailure('link_lost', `the link to ${this.description} was lost`)
    return ended
  }

  /** Where the directories of runs are; undefined where it does not tell. */
  async freeMb(): Promise<number | undefined> {
    await this.place()
    const channel = await this.#connections.exec(shCommand('df -Pk "$HOME"/.errand'))
    const kib = /^.*\n\S+\s+\d+\s+\d+\s+(\d+)/.exec((await executed(channel)).stdout)?.[1]
    return kib === undefined ? undefined : Math.floor(Number(kib) / 1_024)
  }

  /** Who waits for an answer on one of its connections waits in vain. */
  distrust(): void {
    this.#connections.destroy()
  }

  /** What is left of a run goes at the next connect, or before the next run. */
  abandon(name: string): void {
    this.#parts.abandoned.add(name)
  }

  close(): void {
    for (const station of this.#idle.keys()) this.#take(station)
    this.#connections.close()
  }

  async #kill(connections: Connections, helper: string, name: string): Promise<number | null> {
    const channel = await connections.exec(shCommand(`exec ${helper} kill "$HOME"/.errand/runs/${name}`))
    return (await executed(channel, '', killLimitMs)).code
  }

  #take(station: Station): void {
    clearTimeout(this.#idle.get(station))
    this.#idle.delete(station)
  }
}
