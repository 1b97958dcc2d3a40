import { readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { normalDependencies } from '@errand/shared'
import type { RuntimeName } from '@errand/shared'

/** The runtimes that `installsDependencies`. */
export type InstallingRuntime = Extract<RuntimeName, 'python' | 'node'>

/** A dependency set that is to be installed. */
export interface Installation {
  runtime: InstallingRuntime
  /** Absolute, where the steps run. */
  interpreter: string
  /**
   * Absolute: where the set lies, there and at run time. New, or an empty directory. For node it may end in
   * `/node_modules` (a volume that appears as such): then packages lie in it directly, else below its `node_modules`.
   */
  dir: string
  dependencies: readonly string[]
  /** What pip or npm is told; through a proxy `proxiedIndexUrl`. */
  indexUrl: string
  /** Of `openIndexProxy`, as the steps see it; absent: they connect to `indexUrl` themselves. */
  socketPath?: string
  allowInstallScripts: boolean
}

export interface InstallSteps {
  /** To lie in the working directory of the steps, which they leave as it is. */
  files: { path: string; content: string }[]
  /** One after the other, while each ends with 0; what the last ones print on stderr says why one does not. */
  steps: { argv: string[]; env: Record<string, string> }[]
}

/** How the index behind a proxy is called inside. The port is known only there: `forward.py` and `forward.mjs` fill it in. */
export function proxiedIndexUrl(runtime: InstallingRuntime): string {
  return `http://127.0.0.1:{port}/${runtime === 'python' ? 'simple/' : ''}`
}

/**
 * What to run to install a set: nothing outside `dir` is written, no configuration of host or image is read, and but
 * for packages whose scripts are allowed nothing of them runs.
 *
 * @throws where the dependencies have faults: whoever sent them has not checked them
 */
export function installSteps(given: Installation): InstallSteps {
  const { runtime, interpreter, socketPath } = given
  const asked = normalDependencies(runtime, given.dependencies)
  const [installer, forwarder] = scripts[runtime]
  const { options, env } = runtime === 'python' ? pip(given) : npm(given)
  const install = [interpreter, installer, placeOf(given), ...options, '--', ...asked]
  const argv = socketPath === undefined ? install : [interpreter, forwarder, socketPath, '--', ...install]
  const files = (socketPath === undefined ? [installer] : [installer, forwarder]).map((path) => ({
    path,
    content: readFileSync(join(import.meta.dirname, path), 'utf8'),
  }))
  return { files, steps: [{ argv, env }] }
}

/** What runs programs with an installed set: this interpreter if there is one, with these variables. */
export interface RunWithSet {
  interpreter?: string
  env: Record<string, string>
  /**
   * What is to appear as `node_modules` in a folder above the program's (`/node_modules` does) by mount or link:
   * nothing else makes `import` and `require` find packages, as `import` heeds no NODE_PATH.
   */
  nodeModules?: string
}

export function runWithSet(set: Pick<Installation, 'runtime' | 'dir'>): RunWithSet {
  const place = placeOf(set)
  return set.runtime === 'python'
    ? { interpreter: posix.join(place, 'bin/python'), env: { VIRTUAL_ENV: place } }
    : { env: {}, nodeModules: place }
}

const scripts = {
  python: ['install.py', 'forward.py'],
  node: ['install.mjs', 'forward.mjs'],
} as const

function placeOf({ runtime, dir }: Pick<Installation, 'runtime' | 'dir'>): string {
  return runtime === 'python' || posix.basename(dir) === 'node_modules'
    ? dir
    : posix.join(dir, 'node_modules')
}

function pip({ indexUrl, allowInstallScripts }: Installation) {
  const { protocol, host } = new URL(indexUrl.replace('{port}', '0'))
  const options = [
    [
      '--isolated',
      '--no-input',
      '--no-cache-dir',
      '--disable-pip-version-check',
      '--no-warn-script-location',
    ],
    ['--progress-bar', 'off', '--timeout', '60', '--retries', '2', '--index-url', indexUrl],
    // Without TLS pip takes packages from this host alone.
    protocol === 'http:' && !host.startsWith('127.0.0.1:') ? ['--trusted-host', host] : [],
    allowInstallScripts ? [] : ['--only-binary', ':all:'],
  ].flat()
  // Even isolated it would read what the host's or image's own pip.conf names, such as other indexes.
  return { options, env: { PIP_CONFIG_FILE: '/dev/null' } }
}

function npm({ indexUrl, socketPath, allowInstallScripts }: Installation) {
  const options = [
    [
      '--registry',
      indexUrl,
      '--no-save',
      '--no-package-lock',
      '--no-audit',
      '--no-fund',
      '--no-update-notifier',
    ],
    ['--no-progress', '--logs-max', '0', '--fetch-timeout', '60000', '--fetch-retries', '2'],
    ['--fetch-retry-mintimeout', '200', '--fetch-retry-maxtimeout', '2000'],
    allowInstallScripts ? [] : ['--ignore-scripts'],
  ].flat()
  // As variables, since only newer versions know them: packages depend on what the registry has and on nothing else.
  const from = (name: string) => [`npm_config_allow_${name}`, 'none'] as const
  // A registry's own tarballs may lie elsewhere, which npm then takes for others'; those that a proxy names do not.
  const others = ['git', 'file', 'directory', ...(socketPath === undefined ? [] : ['remote'])]
  const env: Record<string, string> = Object.fromEntries(others.map(from))
  if (allowInstallScripts) env['npm_config_dangerously_allow_all_scripts'] = 'true'
  return { options, env }
}
