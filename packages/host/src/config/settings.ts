import { resolve } from 'node:path'
import { serverConfig, type ServerConfig } from '@errand/shared'
import { fromEnvironment } from '../secret-file.ts'
import { reasonsOf } from './schema-reasons.ts'

/** How the API runs: the environment, over the file's `server` section, over these defaults. */
export interface Settings {
  /** 127.0.0.1 */
  host: string
  /** 8080; 0 takes any free one. */
  port: number
  /** What install lines and links use; undefined: made of the address that is listened on. */
  publicUrl: string | undefined
  /** Paths of PEM files; both or none. */
  tls: { certFile: string; keyFile: string } | undefined
  trustedProxies: string[]
  /** Absolute; `./data`. */
  dataDir: string
  /** Undefined: PGlite in the data directory. */
  databaseUrl: string | undefined
  adminKey: string | undefined
  secretKey: string | undefined
  /** 30 */
  retentionDays: number
  /** Whether `npm start` also runs an agent on this machine; true. */
  localAgent: boolean
  /** Multiplies all waits (ERRAND_TIME_SCALE, for tests); 1. */
  timeScale: number
}

/** Each reason against a setting goes to `refuse`, with the variable's name; those of the file are checked already. */
export function readSettings(given: {
  file: ServerConfig
  /** Paths in the file are relative to it, those in the environment to the working directory. */
  fileDir: string
  env: NodeJS.ProcessEnv
  refuse: (reason: string) => void
}): Settings {
  const { file, fileDir, env, refuse } = given
  const fromEnv = readEnvironment(env, refuse)
  const chosen = { ...file, ...fromEnv }
  const path = (key: 'data_dir' | 'tls_cert_file' | 'tls_key_file'): string | undefined =>
    fromEnv[key] === undefined ? file[key] && resolve(fileDir, file[key]) : resolve(fromEnv[key])
  const certFile = path('tls_cert_file')
  const keyFile = path('tls_key_file')
  if ((certFile === undefined) !== (keyFile === undefined))
    refuse('ERRAND_TLS_CERT_FILE and ERRAND_TLS_KEY_FILE: one is set, both are needed')
  if (chosen.admin_key !== undefined && !/^[\x21-\x7e]{16,512}$/.test(chosen.admin_key))
    refuse('ERRAND_ADMIN_KEY: must be 16 to 512 visible ASCII characters')
  if (chosen.database_url !== undefined && !/^postgres(ql)?:\/\//.test(chosen.database_url))
    refuse('DATABASE_URL: must begin with postgres:// or postgresql://')
  return {
    host: chosen.host ?? '127.0.0.1',
    port: chosen.port ?? 8080,
    publicUrl: chosen.public_url?.replace(/\/$/, ''),
    tls: certFile && keyFile ? { certFile, keyFile } : undefined,
    trustedProxies: chosen.trusted_proxies ?? [],
    dataDir: path('data_dir') ?? resolve('data'),
    databaseUrl: chosen.database_url,
    adminKey: chosen.admin_key,
    secretKey: chosen.secret_key,
    retentionDays: chosen.retention_days ?? 30,
    localAgent: (chosen.local_agent ?? 'on') === 'on',
    timeScale: readTimeScale(env, refuse),
  }
}

type Form = 'text' | 'number' | 'list' | 'secret'

const variables: Record<keyof ServerConfig, { variable: string; form: Form }> = {
  host: { variable: 'ERRAND_HOST', form: 'text' },
  port: { variable: 'ERRAND_PORT', form: 'number' },
  public_url: { variable: 'ERRAND_PUBLIC_URL', form: 'text' },
  tls_cert_file: { variable: 'ERRAND_TLS_CERT_FILE', form: 'text' },
  tls_key_file: { variable: 'ERRAND_TLS_KEY_FILE', form: 'text' },
  trusted_proxies: { variable: 'ERRAND_TRUSTED_PROXIES', form: 'list' },
  data_dir: { variable: 'ERRAND_DATA_DIR', form: 'text' },
  database_url: { variable: 'DATABASE_URL', form: 'secret' },
  admin_key: { variable: 'ERRAND_ADMIN_KEY', form: 'secret' },
  secret_key: { variable: 'ERRAND_SECRET_KEY', form: 'secret' },
  retention_days: { variable: 'ERRAND_RETENTION_DAYS', form: 'number' },
  local_agent: { variable: 'ERRAND_LOCAL_AGENT', form: 'text' },
}

function readEnvironment(env: NodeJS.ProcessEnv, refuse: (reason: string) => void): ServerConfig {
  const read: Record<string, unknown> = {}
  for (const [key, { variable, form }] of Object.entries(variables)) {
    const text = form === 'secret' ? readSecret(variable, env, refuse) : env[variable]
    // Compose files and shells cannot unset a variable, they leave it empty.
    if (text === undefined || text === '') continue
    const checked = serverConfig.shape[key as keyof ServerConfig].safeParse(inForm(text, form))
    if (checked.success) read[key] = checked.data
    else for (const { reason } of reasonsOf(checked.error)) refuse(`${variable}: ${reason}`)
  }
  return read
}

function inForm(text: string, form: Form): unknown {
  if (form === 'number') return /^\d+(\.\d+)?$/.test(text) ? Number(text) : text
  if (form === 'list') return text.split(',').map((one) => one.trim())
  return text
}

function readSecret(
  variable: string,
  env: NodeJS.ProcessEnv,
  refuse: (reason: string) => void,
): string | undefined {
  try {
    return fromEnvironment(variable, env)
  } catch (error) {
    refuse(error instanceof Error ? error.message : String(error))
    return undefined
  }
}

function readTimeScale(env: NodeJS.ProcessEnv, refuse: (reason: string) => void): number {
  const text = env['ERRAND_TIME_SCALE'] || '1'
  const scale = Number(text)
  if (scale > 0 && scale <= 1) return scale
  refuse('ERRAND_TIME_SCALE: must be above 0 and at most 1')
  return 1
}
