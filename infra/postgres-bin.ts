import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const installations = '/usr/lib/postgresql'

/**
 * The directory with the newest PostgreSQL server of this machine (Debian keeps it off PATH).
 *
 * @throws where there is none, saying what to install
 */
export function postgresBin(): string {
  const versions = existsSync(installations) ? readdirSync(installations) : []
  const newestFirst = versions.toSorted((a, b) => Number(b) - Number(a))
  const found = newestFirst
    .map((one) => join(installations, one, 'bin'))
    .find((bin) => existsSync(join(bin, 'initdb')))
  if (found === undefined)
    throw new Error(
      `no PostgreSQL server in ${installations}: run sh infra/setup.sh test, or apt-get install postgresql`,
    )
  return found
}

/** PostgreSQL refuses to run as root: then it runs as `postgres`, or as `nobody`. Otherwise as the caller. */
export function serverUser(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {}
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
  for (const name of ['postgres', 'nobody']) {
    const account = accounts.find((fields) => fields[0] === name)
    if (account) return { uid: Number(account[2]), gid: Number(account[3]) }
  }
  throw new Error('root may not run PostgreSQL, and neither postgres nor nobody is a user of this machine')
}
