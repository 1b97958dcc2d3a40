import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type Docker from 'dockerode'

/** Where the Docker Engine listens. */
export interface EngineAddress {
  /** As `DOCKER_HOST` names it, for people. */
  name: string
  /** All that dockerode would otherwise take from this process's environment, said or made void. */
  options: Docker.DockerOptions
}

/**
 * Reads `DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` as Docker's own client does, but for one thing: where
 * there is TLS, the Engine's certificate is always checked.
 *
 * @throws naming the variable and what it should be
 */
export function engineAddress(env: NodeJS.ProcessEnv): EngineAddress {
  const name = env['DOCKER_HOST'] || 'unix:///var/run/docker.sock'
  const unix = /^unix:\/\/(\/.+)$/.exec(name)
  if (unix) return { name, options: { ...unsaid, socketPath: unix[1] } }
  const [, scheme, rest] = /^(tcp|https?)(:\/\/.*)$/.exec(name) ?? []
  // Whatever its scheme: of `http` and `https` a URL leaves out the ports that are theirs, and not Docker's.
  const url = scheme && URL.canParse(`tcp${rest}`) ? new URL(`tcp${rest}`) : undefined
  if (!url || !url.hostname || url.username || !['', '/'].includes(url.pathname))
    throw new Error(
      `DOCKER_HOST ${name} is not understood: it must be unix:///PATH or tcp://HOST:PORT (for a remote Engine by ssh, use an ssh executor or an agent there)`,
    )
  const tls = scheme === 'https' || Boolean(env['DOCKER_TLS_VERIFY'] || env['DOCKER_CERT_PATH'])
  const options: Docker.DockerOptions = {
    ...unsaid,
    protocol: tls ? 'https' : 'http',
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port || (tls ? 2376 : 2375),
    ...(tls ? readCertificates(env['DOCKER_CERT_PATH'] || join(homedir(), '.docker')) : {}),
  }
  return { name, options }
}

/** dockerode's `timeout` would cut long runs, and its own reading of the environment is not ours. */
const unsaid = {
  socketPath: undefined,
  host: undefined,
  port: undefined,
  protocol: undefined,
  ca: undefined,
  cert: undefined,
  key: undefined,
  timeout: undefined,
  pathPrefix: '/',
} as unknown as Docker.DockerOptions

function readCertificates(dir: string): Pick<Docker.DockerOptions, 'ca' | 'cert' | 'key'> {
  const read = (file: string): Buffer => {
    try {
      return readFileSync(join(dir, file))
    } catch (error) {
      throw new Error(`DOCKER_CERT_PATH: ${join(dir, file)} cannot be read`, { cause: error })
    }
  }
  return { ca: read('ca.pem'), cert: read('cert.pem'), key: read('key.pem') }
}
