import { execFileSync } from 'node:child_process'
import { globSync, lstatSync, readdirSync, readlinkSync, realpathSync, type Stats } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'

/**
 * The files of installed Debian packages and of all that those depend on, with what their installation made: absolute
 * paths, none of which leads through a link. A package is written as in a dependency: `this | or-that`.
 *
 * @throws where a given package is not installed
 */
export function filesOfPackages(packages: readonly string[]): string[] {
  const recorded = ask('-L', ...withDependencies(packages)).filter((line) => line.startsWith('/'))
  const files = new Set([...recorded, ...madeByInstallation()].flatMap((path) => place(path) ?? []))
  for (const link of readdirSync('/usr/bin').map((name) => join('/usr/bin', name)))
    for (const one of alternative(link, files)) files.add(one)
  return [...files]
}

/** Of the given packages alone: what stands for them. */
export function packageVersions(packages: readonly string[]): string {
  const named = new Set(packages.flatMap((choice) => choice.split('|')).map(bare))
  return ask('-W', '-f', '${Package} ${Version}\n')
    .filter((row) => named.has(bare(row)))
    .join('\n')
}

function withDependencies(packages: readonly string[]): string[] {
  const rows = ask('-W', '-f', '${db:Status-Status}\t${Package}\t${Provides}\t${Pre-Depends},${Depends}\n')
    .map((row) => row.split('\t') as [string, string, string, string])
    .filter(([status]) => status === 'installed')
  const dependencies = new Map(rows.map(([, name, , needs]) => [name, needs.split(',')]))
  const providers = new Map(
    rows.flatMap(([, name, provides]) => [...provides.split(',').map(bare), name].map((one) => [one, name])),
  )
  const installed = (choice: string): string | undefined =>
    choice.split('|').flatMap((one) => providers.get(bare(one)) ?? [])[0]
  const found = packages.map((choice) => {
    const name = installed(choice)
    if (name === undefined) throw new Error(`not installed on this machine: ${choice}`)
    return name
  })
  const all = new Set(found)
  // A set gives what is added to it while it is gone through.
  for (const name of all)
    for (const choice of dependencies.get(name) ?? []) {
      const needed = installed(choice)
      if (needed !== undefined) all.add(needed)
    }
  return [...all]
}

/** Without version and architecture. */
function bare(dependency: string): string {
  return dependency.trim().split(/[ (:]/, 1)[0] as string
}

/** What no record names. Without its caches Python starts slowly. */
function madeByInstallation(): string[] {
  return [
    '/etc/ld.so.cache',
    ...globSync([
      '/etc/php/*/**',
      '/usr/lib/python3.*/**',
      '/usr/lib/python3/dist-packages/pip/**/*.pyc',
      '/{bin,lib,lib64,sbin}',
    ]),
  ]
}

/** No program asks for it, or only tests of the toolchain itself do. */
const unneeded =
  /^\/usr\/share\/(doc|info|lintian|locale|man)\/|^\/usr\/share\/go[^/]*\/(api|test)\/|_race\/|\/jmods\/|-lto-dump-|\/config-3/

/** Where it lies, past the links that Debian's merged /usr leads through; undefined for what is not to be taken. */
function place(path: string): string | undefined {
  const found = unneeded.test(path) ? undefined : look(path)
  return found?.isFile() || found?.isSymbolicLink()
    ? join(realpathSync(dirname(path)), basename(path))
    : undefined
}

/** The links by which Debian gives one of `files` its common name, as `java` or `cc`; none where this is no such link. */
function alternative(link: string, files: ReadonlySet<string>): string[] {
  const way = [link]
  let at = link
  while (look(at)?.isSymbolicLink()) way.push((at = resolve(dirname(at), readlinkSync(at))))
  return way[1]?.startsWith('/etc/alternatives/') && files.has(at) ? way : []
}

function look(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false })
}

function ask(...args: string[]): string[] {
  return execFileSync('dpkg-query', args, { encoding: 'utf8', maxBuffer: 2 ** 28 }).split('\n')
}
