import { constants } from 'node:fs'
import { open, readdir, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline, Transform, type Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { readPythonRequirement } from '@errand/shared'
import semver from 'semver'
import { extract } from 'tar-stream'
import { filePath, IndexFault } from './index-source.ts'
import type { Asked, File, IndexSource, Page } from './index-source.ts'
import type { PackageIndex } from './package-index.ts'
import { simplePage } from './simple-page.ts'

/**
 * A folder of this host as an index: of wheels and source distributions, known by their names, or of npm's tarballs,
 * known by their package.json. Links in the folder are not followed, folders in it not entered.
 */
export class OfflineIndex implements IndexSource {
  readonly #kind: PackageIndex['kind']
  readonly #dir: string
  /** Of npm's tarballs, read once: a folder that changes meanwhile is another at the next installation. */
  #tarballs: Promise<Tarball[]> | undefined

  constructor({ kind }: PackageIndex, dir: string) {
    this.#kind = kind
    this.#dir = dir
  }

  async page(name: string, { origin }: Asked): Promise<Page> {
    if (this.#kind === 'python') {
      const files = (await this.#names()).filter((file) => projectOf(file) === name)
      if (files.length === 0) throw this.#lacks(name)
      return { type: 'text/html; charset=utf-8', text: simplePage(files.map(pathOf)) }
    }
    const all = (await (this.#tarballs ??= this.#readTarballs())).filter((one) => one.manifest.name === name)
    if (all.length === 0) throw this.#lacks(name)
    return { type: 'application/json', text: JSON.stringify(packument(name, all, origin)) }
  }

  async file(_token: string, name: string, { room }: Asked): Promise<File> {
    const file = decoded(name)
    const handle = this.#isPackage(file) ? await this.#open(file) : undefined
    if (!handle) throw new IndexFault(403, `there is no file ${name} in the folder of packages`)
    const { size } = await handle.stat()
    return { body: pipeline(handle.createReadStream(), room.meter(), () => {}), length: size }
  }

  close(): void {}

  /** What else lies in the folder is shown to nobody. */
  #isPackage(file: string): boolean {
    return this.#kind === 'python' ? projectOf(file) !== undefined : file.endsWith('.tgz')
  }

  #lacks(name: string): IndexFault {
    return new IndexFault(404, `${name} is not in the folder of packages ${this.#dir}`)
  }

  async #names(): Promise<string[]> {
    try {
      const entries = await readdir(this.#dir, { withFileTypes: true })
      return entries.filter((entry) => entry.isFile()).map(({ name }) => name)
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
      throw new IndexFault(503, `cannot read the folder of packages ${this.#dir}: ${code}`, { cause: error })
    }
  }

  /** A file of the folder itself, and a plain one. */
  async #open(name: string): Promise<FileHandle | undefined> {
    if (name.includes('/') || name.includes('\0')) return undefined
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
    const handle = await open(join(this.#dir, name), flags).catch(() => undefined)
    if ((await handle?.stat())?.isFile()) return handle
    await handle?.close()
    return undefined
  }

  async #readTarballs(): Promise<Tarball[]> {
    const found: Tarball[] = []
    for (const file of (await this.#names()).filter((name) => this.#isPackage(name))) {
      const handle = await this.#open(file)
      const text = handle && (await readManifest(handle.createReadStream()))
      const manifest = text === undefined ? undefined : parseManifest(text)
      if (manifest) found.push({ file, manifest })
    }
    return found
  }
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}

function pathOf(file: string): string {
  return filePath('-', encodeURIComponent(file))
}

/** The project of a wheel or source distribution, as indexes name it. */
function projectOf(file: string): string | undefined {
  const [, name] =
    /^([^-]+)-[^-]+(?:-[^-]+)?-[^-]+-[^-]+-[^-]+\.whl$/.exec(file) ??
    /^(.+)-[^-]+\.(?:tar\.gz|zip)$/.exec(file) ??
    []
  const read = name === undefined ? undefined : readPythonRequirement(name)
  return read && 'name' in read && name !== undefined && /^[\w.-]+$/.test(name) ? read.name : undefined
}

interface Tarball {
  file: string
  manifest: { name: string; version: string } & Record<string, unknown>
}

/** What installation goes by. */
const shownFields = new Set(
  [
    ['name', 'version', 'bin', 'engines', 'os', 'cpu', 'libc', 'hasInstallScript', 'scripts'],
    ['dependencies', 'optionalDependencies', 'peerDependencies', 'peerDependenciesMeta'],
    ['bundleDependencies', 'bundledDependencies'],
  ].flat(),
)

function packument(name: string, tarballs: readonly Tarball[], origin: string): object {
  const versions = tarballs.map(({ file, manifest }) => {
    const shown = Object.entries(manifest).filter(([field]) => shownFields.has(field))
    const whole = { ...Object.fromEntries(shown), dist: { tarball: origin + pathOf(file) } }
    return [manifest.version, whole] as const
  })
  const sorted = semver.rsort(versions.map(([version]) => version))
  const latest = sorted.find((version) => semver.prerelease(version) === null) ?? sorted[0]
  return { name, 'dist-tags': { latest }, versions: Object.fromEntries(versions) }
}

function parseManifest(text: string): Tarball['manifest'] | undefined {
  try {
    const { name, version, ...rest } = JSON.parse(text) as Record<string, unknown>
    if (typeof name !== 'string' || typeof version !== 'string') return undefined
    const normal = semver.valid(version)
    return normal === null ? undefined : { ...rest, name, version: normal }
  } catch {
    return undefined
  }
}

/** How far package.json is looked for in an unpacked tarball, and how long it may be; bytes. */
const farthest = 64 * 1024 * 1024
const longestManifest = 1024 * 1024

/** The package.json of a package's only top folder; undefined where none is found, or what is read is no tarball. */
async function readManifest(tarball: Readable): Promise<string | undefined> {
  const entries = extract()
  pipeline(tarball, createGunzip(), upTo(farthest), entries, () => {})
  return new Promise((resolve) => {
    const done = (text?: string): void => {
      resolve(text)
      entries.destroy()
    }
    entries.on('entry', ({ name, size = 0, type }, content, next) => {
      const isIt = type === 'file' && /^(?:\.\/)?[^/]+\/package\.json$/.test(name) && size <= longestManifest
      const parts: Buffer[] = []
      content.on('data', (part: Buffer) => isIt && parts.push(part))
      content.on('end', () => (isIt ? done(Buffer.concat(parts).toString()) : next()))
    })
    entries.on('finish', () => done())
    entries.on('error', () => done())
    entries.on('close', () => done())
  })
}

function upTo(most: number): Transform {
  let size = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length
      done(size > most ? new Error('too large') : null, chunk)
    },
  })
}
