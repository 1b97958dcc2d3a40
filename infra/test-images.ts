import { createHash } from 'node:crypto'
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { startDockerEngine } from './docker-engine.ts'
import { filesOfPackages, packageVersions } from './files-of-packages.ts'
import { ownedDirectory } from './owned-directory.ts'
import { runTool } from './run-tool.ts'

/** The images of the tests. They are made of this machine's own files: nothing is fetched. */
export const testImages = {
  /** The toolchains of all runtimes, with pip and npm. */
  runtimes: 'errand-test/runtimes:1',
  /** A shell and Python with pip: small, for what needs no compiler. */
  python: 'errand-test/python:1',
  /** One static program in the place of Python, which prints the file that it is given: no shell, no libraries. */
  bare: 'errand-test/bare:1',
} as const

/** libc-bin has the locale C.UTF-8, which programs are given. */
const small = ['dash', 'coreutils', 'libc-bin', 'python3', 'python3-pip']
const tools = [
  'bash',
  'diffutils',
  'findutils',
  'grep',
  'gzip',
  'hostname',
  'procps',
  'sed',
  'tar',
  'util-linux',
]
const jdk = 'default-jdk-headless | openjdk-17-jdk-headless'
const toolchains = ['g++', jdk, 'golang-go', 'rustc', 'ruby', 'php-cli', 'perl', 'lua5.4']
const debianPackages: Record<keyof typeof testImages, string[]> = {
  runtimes: [...small, ...tools, ...toolchains],
  python: small,
  bare: [],
}

/** All checkouts of a machine share it, and a fresh clone finds the images made. */
const cache = '/var/cache/errand-tests'
const keptUnusedMs = 24 * 3600_000

/** The data root of an Engine that has made them, for `startDockerEngine`. Made anew when what they are made of changes. */
export async function madeTestImages(): Promise<string> {
  const store = join(cache, `images-${hashOfRecipe()}`)
  if (!existsSync(store)) {
    console.log('errand set-up: making the container images of the tests (once, about a minute)')
    await make(store)
    removeUnused()
  }
  utimesSync(store, new Date(), new Date())
  return store
}

function hashOfRecipe(): string {
  const ours = ['test-images.ts', 'files-of-packages.ts', 'bare-interpreter.c'].map((name) =>
    join(import.meta.dirname, name),
  )
  const hash = createHash('sha256').update(process.version).update(packageVersions(debianPackages.runtimes))
  const tools = ['typescript', 'npm'].map((name) => join(globalModule(name), 'package.json'))
  for (const file of [...ours, ...tools]) hash.update(readFileSync(file))
  return hash.digest('hex').slice(0, 16)
}

async function make(store: string): Promise<void> {
  mkdirSync(cache, { recursive: true })
  const dir = ownedDirectory('making-', cache)
  const engine = await startDockerEngine({ dir })
  try {
    for (const name of Object.keys(testImages) as (keyof typeof testImages)[])
      await importImage(name, join(dir, name), engine.socketPath)
  } finally {
    await engine.stop()
  }
  // Another run may have been quicker.
  if (!existsSync(store)) renameSync(join(dir, 'data'), store)
  rmSync(dir, { recursive: true })
}

async function importImage(name: keyof typeof testImages, dir: string, socketPath: string): Promise<void> {
  const own = join(dir, 'own')
  await addOwnFiles(name, own)
  const packages = debianPackages[name]
  const shared = withFolders(packages.length > 0 ? filesOfPackages(packages) : [])
  const added = readdirSync(own, { recursive: true, encoding: 'utf8' }).filter((path) => !shared.has(path))
  writeFileSync(join(dir, 'shared'), [...shared].toSorted().join('\n'))
  writeFileSync(join(dir, 'added'), added.toSorted().join('\n'))
  const script = `set -o pipefail
    tar --create --no-recursion --directory=/ --files-from="$1/shared" --directory="$1/own" --files-from="$1/added" |
      docker --host "unix://$2" import - "$3"`
  await runTool('bash', ['-c', script, 'bash', dir, socketPath, testImages[name]])
}

/** What is in no package, or is to differ from this machine's. */
async function addOwnFiles(name: keyof typeof testImages, root: string): Promise<void> {
  mkdirSync(join(root, 'usr/local/bin'), { recursive: true })
  mkdirSync(join(root, 'usr/bin'))
  mkdirSync(join(root, 'tmp'))
  chmodSync(join(root, 'tmp'), 0o1777)
  if (name === 'bare')
    await runTool('gcc', [
      '-static',
      '-O',
      '-o',
      join(root, 'usr/bin/python3'),
      join(import.meta.dirname, 'bare-interpreter.c'),
    ])
  if (name !== 'runtimes') return
  cpSync(process.execPath, join(root, 'usr/local/bin/node'))
  const modules = 'usr/local/lib/node_modules'
  for (const part of ['typescript', '@types/node', 'npm'])
    cpSync(globalModule(part), join(root, modules, part), { recursive: true, verbatimSymlinks: true })
  symlinkSync(join('/', modules, 'typescript/bin/tsc'), join(root, 'usr/local/bin/tsc'))
  symlinkSync(join('/', modules, 'npm/bin/npm-cli.js'), join(root, 'usr/local/bin/npm'))
}

/** Where npm lies itself, and where it has put the compiler that user code gets. */
function globalModule(name: string): string {
  const [found] = globSync(`/usr/{local/,}lib/node_modules/${name}`)
  if (found === undefined) throw new Error(`no ${name} on this machine: run sh infra/setup.sh test`)
  return found
}

/** Relative to the root. Docker makes a folder that is not named itself so that only root may enter. */
function withFolders(files: readonly string[]): Set<string> {
  const all = new Set<string>()
  for (const file of files)
    for (let path = file; path !== '/' && !all.has(path.slice(1)); path = dirname(path))
      all.add(path.slice(1))
  return all
}

function removeUnused(): void {
  for (const name of readdirSync(cache).filter((one) => one.startsWith('images-'))) {
    const store = join(cache, name)
    if (Date.now() - statSync(store).mtimeMs > keptUnusedMs) rmSync(store, { recursive: true })
  }
}
