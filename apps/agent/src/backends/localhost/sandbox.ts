import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

/** Where the execution's directory appears. */
export const sandboxHome = '/sandbox'

/** The user inside. Outside it is the slot's, or the agent's own where the agent is not root. */
const insideId = 1_000

/**
 * What every sandbox on this host has: all namespaces of its own, no network but loopback, no capabilities, no new
 * user namespaces, of the host's files only /usr and `etc` (made by `makeSandboxEtc`), read-only. It dies with the agent.
 */
export function sandboxOptions(etc: string): string[] {
  return [
    [
      '--unshare-all',
      '--unshare-user',
      '--disable-userns',
      '--new-session',
      '--die-with-parent',
      '--as-pid-1',
    ],
    ['--uid', String(insideId), '--gid', String(insideId), '--hostname', 'sandbox'],
    ['--cap-drop', 'ALL'],
    ['--ro-bind', '/usr', '/usr', ...rootFolders(), '--ro-bind', etc, '/etc'],
    ['--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp'],
  ].flat()
}

/** A phase's wrapper (see `BundlePhase`): the sandbox with the execution's directory, and the box as its first process. */
export function sandboxed(bwrap: string, options: readonly string[], work: string): string[] {
  return [
    [bwrap, ...options, '--bind', work, sandboxHome, '--chdir', sandboxHome],
    ['--', '/proc/self/fd/6', 'init'],
  ].flat()
}

/** Folders that no sandbox shows as a whole, nor what they are in: homes and the agent's directory. */
export function closedFolders(agentDir: string): string[] {
  const homes = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':')[5] ?? '')
  return [...new Set([agentDir, homedir(), ...homes])]
    .filter((path) => existsSync(path))
    .map((path) => realpathSync(path))
}

/**
 * Read-only binds of what an interpreter outside /usr needs: its installation, and that of what it links to.
 *
 * @param closed `closedFolders` of this host
 */
export function interpreterOptions(interpreter: string, closed: readonly string[]): string[] {
  const installations = new Set(
    [interpreter, realpathSync(interpreter)].map((path) => installationOf(path, closed)),
  )
  return [...installations].flatMap((path) =>
    path === '/usr' || path.startsWith('/usr/') ? [] : ['--ro-bind', path, path],
  )
}

/**
 * The /etc of sandboxes: the few files without which compilers, java and TLS break, and made-up users. Copied, as one
 * bind is a tenth of the time of six.
 */
export function makeSandboxEtc(path: string): void {
  rmSync(path, { recursive: true, force: true })
  mkdirSync(path, { recursive: true, mode: 0o755 })
  const java = readdirSync('/etc').filter((name) => /^java-\d+/.test(name))
  for (const name of ['alternatives', 'ld.so.cache', 'ssl/certs', 'ssl/openssl.cnf', 'php', ...java])
    if (existsSync(join('/etc', name)))
      cpSync(join('/etc', name), join(path, name), {
        recursive: true,
        verbatimSymlinks: true,
        // not what only root may read
        filter: (source) => lstatSync(source).isSymbolicLink() || (lstatSync(source).mode & 0o004) !== 0,
      })
  const write = (name: string, text: string): void => writeFileSync(join(path, name), text, { mode: 0o644 })
  write(
    'passwd',
    `sandbox:x:${insideId}:${insideId}::${sandboxHome}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n`,
  )
  write('group', `sandbox:x:${insideId}:\nnogroup:x:65534:\n`)
  write('hosts', '127.0.0.1 localhost\n::1 localhost\n')
}

/** /bin, /lib and the like: links into /usr on most systems, folders on others. */
function rootFolders(): string[] {
  return ['/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'].flatMap((path) => {
    const stat = lstatSync(path, { throwIfNoEntry: false })
    if (!stat) return []
    return stat.isSymbolicLink() ? ['--symlink', readlinkSync(path), path] : ['--ro-bind', path, path]
  })
}

/** `/opt/python` of `/opt/python/bin/python3`; the narrower the more would be shown with it, at last the file alone. */
function installationOf(path: string, closed: readonly string[]): string {
  const folder = dirname(path)
  const prefix = /\/s?bin$/.test(folder) ? dirname(folder) : folder
  return [prefix, folder].find((one) => mayShow(one, closed)) ?? path
}

/** Never a folder of the host's root, nor a home, nor what holds something closed, by whatever name. */
function mayShow(folder: string, closed: readonly string[]): boolean {
  const real = realpathSync(folder)
  // Homes need not be in /etc/passwd.
  const least = real.startsWith('/home/') ? 3 : 2
  return (
    depth(folder) >= 2 &&
    depth(real) >= least &&
    !closed.some((one) => one === real || one.startsWith(`${real}/`))
  )
}

function depth(path: string): number {
  return path.split('/').filter(Boolean).length
}
