import { randomBytes } from 'node:crypto'
import { chownSync, constants, copyFileSync, existsSync, mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import type { AgentPolicy } from '@errand/shared'
import { proxiedIndexUrl } from '../../packages/install-steps.ts'
import { environmentAt } from '../box/environment.ts'
import { startLocalBox } from '../box/local-box.ts'
import { diskAt } from '../disk-at.ts'
import type { DependencySets, Filling, InstalledSet, SetPlace } from '../sets/dependency-sets.ts'
import { installationOf, openWay, runInstallation } from '../sets/installation.ts'
import { linkerFile, linkerIn } from '../sets/linker.ts'
import type { NeededSet } from '../sets/needed-set.ts'
import { namesIn, workDirName } from './places.ts'
import type { Places } from './places.ts'
import { runTool } from '../run-tool.ts'
import { sandboxHome } from './sandbox.ts'
import { removeTree } from './work-dir.ts'

export interface HostSetsParts {
  places: Places
  policy: AgentPolicy
  /** Of a root agent: who installs in this slot, and nobody else. */
  uidOf: (slot: number) => number | undefined
  /**
   * What starts a command in a sandbox with this work directory and these binds beside; undefined: none, and none is
   * wanted.
   */
  wrapperFor: (
    filling: Filling,
    set: NeededSet,
    work: string,
    binds: string[],
  ) => Promise<string[] | undefined>
  /** Of those that are installed without a sandbox: finds their processes. */
  mark: (slot: number) => Record<string, string>
  /** Ends what a box that was killed has left. */
  killLeft: (slot: number) => Promise<void>
}

/** Dependency sets in folders of this host, which sandboxes show under their own path, to be read only. */
export class HostSets implements SetPlace {
  readonly name = 'this host'
  readonly roomEveryMs = 1_000
  readonly #parts: HostSetsParts

  constructor(parts: HostSetsParts) {
    this.#parts = parts
  }

  /** Removes what is no whole set, and forgets sets that are gone. */
  async recover(sets: DependencySets): Promise<void> {
    const known = sets.known(this.name)
    for (const { at, hash } of known) if (!existsSync(at)) sets.forget(hash, this.name)
    const folder = this.#parts.places.sets
    for (const path of namesIn(folder).map((name) => join(folder, name)))
      if (!known.some(({ at }) => at === path)) await removeTree(path)
    await sets.makeRoom(this)
  }

  async freeMb(): Promise<number> {
    const { free_bytes } = await diskAt(this.#parts.places.sets)
    return Math.floor(free_bytes / 1_048_576)
  }

  async find(_set: NeededSet, known: InstalledSet | undefined): Promise<InstalledSet | undefined> {
    return known && existsSync(known.at) ? known : undefined
  }

  async fill(set: NeededSet, filling: Filling): Promise<InstalledSet> {
    const { places, uidOf } = this.#parts
    const uid = uidOf(filling.slot)
    const at = join(places.sets, `${set.hash.slice(0, 16)}-${randomBytes(4).toString('hex')}`)
    mkdirSync(at, { mode: 0o755 })
    try {
      if (uid !== undefined) chownSync(at, uid, uid)
      const bytes = await this.#fetchInto(at, set, filling)
      const linker = linkerIn(at, set)
      // Packages may have put something else in its place.
      if (linker !== undefined) copyFileSync(linkerFile, linker, constants.COPYFILE_EXCL)
      await seal(at, uid !== undefined)
      return { at, bytes }
    } catch (error) {
      // What stays goes at the next start.
      await removeTree(at).catch(() => {})
      throw error
    }
  }

  /** At once, and then for good: half a set would be taken for a whole one, if the agent died here or something stayed. */
  async remove({ at }: { at: string }): Promise<boolean> {
    const gone = `${at}-gone`
    if (existsSync(at)) renameSync(at, gone)
    await removeTree(gone)
    return true
  }

  async #fetchInto(at: string, set: NeededSet, filling: Filling): Promise<number> {
    const { places, policy } = this.#parts
    const way = join(places.ways, String(filling.slot))
    const work = join(places.work, workDirName(places, filling.assignment))
    const socketPath = join(way, 'index')
    try {
      await removeTree(way)
      this.#makeWay(way, filling.slot)
      const mostBytes = policy.disk.sets_mb * 1_048_576
      const { faults, close } = await openWay(set, { socketPath, mostBytes, progress: filling.progress })
      try {
        return await this.#run(set, filling, { at, work, way, socketPath, faults })
      } finally {
        await close()
      }
    } finally {
      for (const one of [way, work, `${work}-tmp`]) await removeTree(one)
    }
  }

  /** Whoever installs may go it, and nobody else. */
  #makeWay(way: string, slot: number): void {
    mkdirSync(way, { mode: 0o710 })
    const gid = this.#parts.uidOf(slot)
    if (gid !== undefined) chownSync(way, 0, gid)
  }

  async #run(
    set: NeededSet,
    filling: Filling,
    { at, work, way, socketPath, faults }: Going,
  ): Promise<number> {
    const { uidOf, wrapperFor, mark, killLeft } = this.#parts
    const { slot, assignment, log } = filling
    const uid = uidOf(slot)
    const binds = ['--bind', at, at, '--ro-bind', way, way]
    const wrapper = await wrapperFor(filling, set, work, binds)
    if (!wrapper)
      log('warn', 'it is installed without a sandbox, with the network of this host: there is none here')
    const seen = wrapper ? { home: sandboxHome, tmp: '/tmp' } : { home: work, tmp: `${work}-tmp` }
    const box = startLocalBox()
    try {
      const todo = installationOf(
        set,
        { dir: at, indexUrl: proxiedIndexUrl(set.runtime), socketPath },
        {
          env: {
            ...environmentAt({ interpreter: set.interpreter, ...seen }),
            ...(wrapper || uid !== undefined ? {} : mark(slot)),
          },
          limitMs: assignment.limits.timeout_sec * 1_000,
          wrapper,
        },
      )
      const bundle = {
        ...todo,
        workDir: { path: work, make: true },
        tmpDir: wrapper ? undefined : `${work}-tmp`,
        user: uid === undefined ? undefined : { uid, gid: uid },
      }
      return await runInstallation(set, box, bundle, filling, { faults })
    } finally {
      if (!box.alive) await killLeft(slot)
      await box.close()
    }
  }
}

interface Going {
  at: string
  work: string
  way: string
  socketPath: string
  faults: Awaited<ReturnType<typeof openWay>>['faults']
}

/**
 * Nobody who runs code may change it, all may read it, and it is on the disk. No process that could still change it is
 * left; links are not followed.
 */
async function seal(at: string, asRoot: boolean): Promise<void> {
  const asLongAsItTakes = { timeoutMs: 0 }
  // That clears set-user-id bits, too.
  if (asRoot) await runTool('chown', ['-hR', '0:0', '--', at], asLongAsItTakes)
  await runTool('chmod', ['-R', 'a+rX,go-w,ug-s', '--', at], asLongAsItTakes)
  await runTool('sync', ['-f', '--', at], asLongAsItTakes)
}
