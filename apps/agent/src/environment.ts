import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { fromEnvironment } from '@errand/host/secret-file'
import { name, scaleTime } from '@errand/shared'
import type { TimeConstants } from '@errand/shared'

export interface Environment {
  /** Base address of the API. */
  url: string
  /** Absolute. */
  agentDir: string
  agentName: string
  hostname: string
  /** Needed once, to enrol. */
  enrollmentToken: string | undefined
  time: TimeConstants
  fakeBackend: boolean
}

/**
 * What the operator set, checked; the token is taken out of `env`, so that nothing this process starts inherits it.
 *
 * @throws naming the variable and what it should be
 */
export function readEnvironment(env: NodeJS.ProcessEnv): Environment {
  const enrollmentToken = fromEnvironment('ERRAND_ENROLLMENT_TOKEN', env)
  delete env['ERRAND_ENROLLMENT_TOKEN']
  const host = hostname().replace(/[^A-Za-z0-9_.-]/g, '-')
  const agentName = env['ERRAND_AGENT_NAME'] || host.replace(/^[^A-Za-z0-9]+/, '').slice(0, 63) || 'agent'
  if (!name.safeParse(agentName).success)
    throw new Error(
      'ERRAND_AGENT_NAME must be 1 to 63 of A-Z a-z 0-9 _ . -, beginning with a letter or digit',
    )
  const scale = Number(env['ERRAND_TIME_SCALE'] || 1)
  if (!(scale > 0 && scale <= 1)) throw new Error('ERRAND_TIME_SCALE must be above 0 and at most 1')
  return {
    url: readUrl(env['ERRAND_URL']),
    agentDir: resolve(env['ERRAND_AGENT_DIR'] || 'agent'),
    agentName,
    hostname: host.slice(0, 253) || 'localhost',
    enrollmentToken,
    time: scaleTime(scale),
    fakeBackend: env['ERRAND_FAKE_BACKEND'] === '1',
  }
}

function readUrl(given: string | undefined): string {
  const url = given && URL.canParse(given) ? new URL(given) : undefined
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.username || url.search || url.hash)
    throw new Error('ERRAND_URL must be the http(s) address of the API, such as https://errand.example.org')
  return url.href
}
