import { Rejected } from '../backend.ts'
import type { NeededSet } from '../sets/needed-set.ts'

/** How an installer learns an index's credentials where no proxy of ours knows them: never by a command line. */
export interface IndexCredentials {
  env: (work: string) => Record<string, string>
  /** To lie in its work directory, which is closed and goes with the run. */
  files: { path: string; content: string }[]
  /** What is not to be told, in all forms in which it could be. */
  secrets: string[]
}

/**
 * @param withoutBox then the environment of a program is for a moment in a command line
 * @throws {Rejected} where there is no safe way
 */
export function credentialsFor({ runtime, index }: NeededSet, withoutBox: boolean): IndexCredentials {
  const { auth, url } = index
  if (!auth || url === undefined) return { env: () => ({}), files: [], secrets: [] }
  const { username, password } = auth
  const basic = Buffer.from(`${username}:${password}`).toString('base64')
  const secrets = [password, encodeURIComponent(password), basic]
  const { hostname, host, pathname } = new URL(url)
  if (runtime === 'node') {
    if (withoutBox) throw new Rejected('index_auth cannot be handed to npm where the box cannot run')
    const folder = pathname.endsWith('/') ? pathname : `${pathname}/`
    return { env: () => ({ [`npm_config_//${host}${folder}:_auth`]: basic }), files: [], secrets }
  }
  // Pythons differ in how they read these.
  if (/["\s\\]/.test(username + password))
    throw new Rejected('index_auth with spaces, quotes or backslashes cannot be handed to pip over ssh')
  return {
    env: (work) => ({ NETRC: `${work}/${netrc}` }),
    files: [{ path: netrc, content: `machine ${hostname} login ${username} password ${password}\n` }],
    secrets,
  }
}

const netrc = '.index-credentials'
