// node install.mjs DIR option...: the npm of this interpreter installs, and DIR becomes the `node_modules` of it. Ends as npm does.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, realpathSync, renameSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import { basename, delimiter, dirname, join } from 'node:path'

const [target, ...options] = process.argv.slice(2)
const npm = findNpm()
if (npm === undefined) {
  const { execPath, env } = process
  console.error(
    `there is no npm, which installs packages, beside the interpreter ${execPath} nor in ${env.PATH}`,
  )
  process.exit(1)
}
// Of the set's own disk: a temporary directory in memory may be too small for large packages. And npm can't install
// into DIR as it is where that is a folder of the root.
const scratch = join(target, '.installing')
const modules = join(scratch, 'set/node_modules')
mkdirSync(modules, { recursive: true })
const places = ['--prefix', join(scratch, 'set'), '--cache', join(scratch, 'cache')]
places.push('--userconfig', join(scratch, 'user'), '--globalconfig', join(scratch, 'global'))
const { status, signal, error } = spawnSync(process.execPath, [npm, 'install', ...places, ...options], {
  stdio: 'inherit',
  env: { ...process.env, TMPDIR: scratch },
})
if (status === 0) for (const name of readdirSync(modules)) renameSync(join(modules, name), join(target, name))
rmSync(scratch, { recursive: true, force: true })
if (error) throw error
process.exit(status ?? 128 + constants.signals[signal])

/** npm is a program for the interpreter: beside which it lies, or on the search path. */
function findNpm() {
  const folders = [dirname(process.execPath), ...(process.env.PATH ?? '').split(delimiter)]
  for (const folder of folders) {
    try {
      const path = realpathSync(join(folder, 'npm'))
      if (basename(path) === 'npm-cli.js') return path
    } catch {
      // not here
    }
  }
  return undefined
}
