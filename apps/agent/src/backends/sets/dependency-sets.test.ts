import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentPolicy } from '@errand/shared'
import type { Assignment, JobProgress } from '@errand/shared'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Missing, Rejected } from '../backend.ts'
import type { Maintenance } from '../backend.ts'
import { DependencySets } from './dependency-sets.ts'
import type { Filling, InstalledSet, SetPlace } from './dependency-sets.ts'
import type { NeededSet } from './needed-set.ts'

const mb = 1_048_576
let dir: string
let now: number
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'errand-sets-'))
  now = 1_000
})
afterEach(() => rmSync(dir, { recursive: true }))

const ledger = (): string => join(dir, 'kept', 'sets.json')

function open(disk: Partial<ReturnType<typeof agentPolicy.parse>['disk']> = {}): DependencySets {
  const silent = (): void => {}
  return new DependencySets(
    {
      policy: agentPolicy.parse({ disk: { min_free_mb: 100, ...disk } }),
      now: () => now,
      stockChanged: silent,
      log: { debug: silent, info: silent, warn: silent, error: silent },
    },
    ledger(),
  )
}

/** A place in memory, where what is to happen is said by the test. */
class Place implements SetPlace {
  readonly name = 'a place'
  readonly roomEveryMs = 5
  readonly lies = new Map<string, InstalledSet>()
  free = 1_000
  fills = 0
  refusesRemoval = false
  /** What a removal adds to it. */
  frees = 0
  /** Settles when a removal may go on. */
  removal: Promise<void> = Promise.resolve()
  filling: (set: NeededSet, filling: Filling) => Promise<void> = async () => {}

  async freeMb(): Promise<number> {
    return this.free
  }

  async find({ hash }: NeededSet, known: InstalledSet | undefined): Promise<InstalledSet | undefined> {
    return known && this.lies.get(hash)?.at === known.at ? known : undefined
  }

  async fill(set: NeededSet, filling: Filling): Promise<InstalledSet> {
    this.fills += 1
    await this.filling(set, filling)
    filling.signal.throwIfAborted()
    const made = { at: `${set.hash}-${this.fills}`, bytes: 10 * mb }
    this.lies.set(set.hash, made)
    return made
  }

  async remove({ hash }: { hash: string }): Promise<boolean> {
    await this.removal
    if (this.refusesRemoval) return false
    this.lies.delete(hash)
    this.free += this.frees
    return true
  }
}

function setOf(hash: string): NeededSet {
  return {
    hash,
    executor: 'local',
    runtime: 'python',
    runtimeId: 'python3.11.2',
    interpreter: '/usr/bin/python3',
    dependencies: [`package-${hash}`],
    index: { kind: 'python', url: 'http://127.0.0.1/' },
    allowInstallScripts: false,
  }
}

function work(more: Partial<Maintenance> = {}): Maintenance & { told: string[]; progressed: JobProgress[] } {
  const told: string[] = []
  const progressed: JobProgress[] = []
  return {
    assignment: {} as Assignment,
    slot: 0,
    signal: new AbortController().signal,
    starting: () => {},
    progress: (one) => void progressed.push(one),
    log: (_, message) => void told.push(message),
    told,
    progressed,
    ...more,
  }
}

describe('dependency sets', () => {
  test('are missing, then installed, then there for a later process too', async () => {
    const [sets, place] = [open(), new Place()]
    await expect(sets.use(setOf('a'), place)).rejects.toThrow(
      new Missing('runtime.install', 'not installed on a place: package-a (python3.11.2)'),
    )
    const asked = work()
    expect(await sets.install(setOf('a'), place, asked)).toMatchObject({
      digest: 'a',
      bytes: 10 * mb,
      already_there: false,
    })
    expect(asked.progressed.at(-1)).toMatchObject({ phase: 'done', percent: 100 })
    const later = open()
    const used = await later.use(setOf('a'), place)
    expect(used.at).toBe('a-1')
    expect(later.stock()).toMatchObject([{ hash: 'a', executor: 'local', place: 'a place', in_use: true }])
    used.end()
    expect(later.stock()).toMatchObject([{ in_use: false }])
    expect((await later.install(setOf('a'), place, work())).already_there).toBe(true)
    expect(place.fills).toBe(1)
  })

  test('are installed once for all that ask meanwhile, and anew for them where that failed', async () => {
    const [sets, place] = [open(), new Place()]
    const first = Promise.withResolvers<void>()
    place.filling = async () => (place.fills === 1 ? first.promise : undefined)
    const failed = sets.install(setOf('a'), place, work())
    const others = [work(), work()].map((one) => sets.install(setOf('a'), place, one))
    first.reject(new Error('cut'))
    await expect(failed).rejects.toThrow('cut')
    const ends = await Promise.all(others)
    expect(ends.map(({ already_there }) => already_there)).toEqual([false, true])
    expect(place.fills).toBe(2)
  })

  test('let go who waits for another job and is canceled', async () => {
    const [sets, place] = [open(), new Place()]
    const first = Promise.withResolvers<void>()
    place.filling = () => first.promise
    const installing = sets.install(setOf('a'), place, work())
    const cancel = new AbortController()
    const waits = sets.install(setOf('a'), place, work({ signal: cancel.signal }))
    cancel.abort('canceled')
    await expect(waits).rejects.toThrow('it was to end')
    first.resolve()
    expect((await installing).already_there).toBe(false)
  })

  test('begin nothing where the job must not start', async () => {
    const [sets, place] = [open(), new Place()]
    const starting = (): never => {
      throw new Error('no longer')
    }
    await expect(sets.install(setOf('a'), place, work({ starting }))).rejects.toThrow('no longer')
    expect(place.fills).toBe(0)
  })

  test('that cannot be noted are removed: nobody would know that they are whole', async () => {
    const [sets, place] = [open(), new Place()]
    writeFileSync(join(dir, 'kept'), 'no folder')
    await expect(sets.install(setOf('a'), place, work())).rejects.toThrow(/EEXIST|ENOTDIR/)
    expect(place.lies.size).toBe(0)
    await expect(sets.use(setOf('a'), place)).rejects.toThrow(Missing)
  })

  test('go when there are too many, the least recently used first, and never one in use', async () => {
    const [sets, place] = [open({ sets_mb: 25 }), new Place()]
    for (const hash of ['a', 'b']) {
      now += 1_000
      await sets.install(setOf(hash), place, work())
    }
    const used = await sets.use(setOf('a'), place)
    now += 1_000
    await sets.install(setOf('c'), place, work())
    expect([...place.lies.keys()]).toEqual(['a', 'c'])
    now += 1_000
    await sets.install(setOf('d'), place, work())
    expect([...place.lies.keys()]).toEqual(['a', 'd'])
    used.end()
    place.refusesRemoval = true
    now += 1_000
    await sets.install(setOf('e'), place, work())
    expect(sets.stock().map(({ hash }) => hash)).toEqual(['e', 'a', 'd'])
  })

  test('that were half removed when the agent died are not whole to the next', async () => {
    const [sets, place] = [open(), new Place()]
    await sets.install(setOf('a'), place, work())
    now += 40 * 24 * 3_600_000
    place.removal = new Promise(() => {})
    void sets.makeRoom(place)
    const next = open()
    await expect(next.use(setOf('a'), place)).rejects.toThrow(Missing)
    expect(next.known(place.name)).toEqual([])
  })

  test('that are being removed are missing to who comes meanwhile, not gone under it', async () => {
    const [sets, place] = [open(), new Place()]
    await sets.install(setOf('a'), place, work())
    now += 40 * 24 * 3_600_000
    const mayGoOn = Promise.withResolvers<void>()
    place.removal = mayGoOn.promise
    const removing = sets.makeRoom(place)
    const used = sets.use(setOf('a'), place)
    mayGoOn.resolve()
    await removing
    await expect(used).rejects.toThrow(Missing)
    expect((await sets.install(setOf('a'), place, work())).already_there).toBe(false)
  })

  test('make room for others, and are refused where there is none', async () => {
    const [sets, place] = [open(), new Place()]
    await sets.install(setOf('a'), place, work())
    place.free = 50
    place.frees = 100
    await sets.install(setOf('b'), place, work())
    expect([...place.lies.keys()]).toEqual(['b'])
    const used = await sets.use(setOf('b'), place)
    place.free = 50
    const refused = sets.install(setOf('c'), place, work())
    await expect(refused).rejects.toThrow(Rejected)
    await expect(refused).rejects.toThrow(
      "no room for packages: 50 MB are free on a place, and this agent's policy keeps 100 MB free (disk.min_free_mb)",
    )
    used.end()
  })

  test('that fill the disk are ended', async () => {
    const [sets, place] = [open(), new Place()]
    place.filling = async (_, { signal }) => {
      place.free = 50
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
    }
    await expect(sets.install(setOf('a'), place, work())).rejects.toThrow(Rejected)
    expect(place.lies.size).toBe(0)
  })

  test('that somebody has removed are missing', async () => {
    const [sets, place] = [open(), new Place()]
    await sets.install(setOf('a'), place, work())
    place.lies.clear()
    await expect(sets.use(setOf('a'), place)).rejects.toThrow(Missing)
    expect(sets.stock()).toEqual([])
  })
})
