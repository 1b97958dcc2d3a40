// node install.mjs PREFIX option...: the npm of this interpreter installs into PREFIX/node_modules. Ends as npm does.
import { spawnSync } from 'node:child_process'
import { mkdirSync, realpathSync, rmSync } from 'node:fs'
import { constants } from 'node:os'
import { basename, delimiter, dirname, join } from 'node:path'

const [prefix, ...options] = process.argv.slice(2)
const npm = findNpm()
if (npm === undefined) {
  const { execPath, env } = process
  console.error(
    `there is no npm, which installs packages, beside the interpreter ${execPath} nor in ${env.PATH}`,
  )
  process.exit(1)
}
// Of the set's own disk: a temporary directory in memory may be too small for large packages.
const scratch = join(prefix, 'node_modules/.installing')
mkdirSync(scratch, { recursive: true })
const places = ['--cache', join(scratch, 'cache'), '--userconfig', join(scratch, 'user')]
places.push('--globalconfig', join(scratch, 'global'), '--prefix', prefix)
const { status, signal, error } = spawnSync(process.execPath, [npm, 'install', ...places, ...options], {
  stdio: 'inherit',
  env: { ...process.env, TMPDIR: scratch },
})
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
