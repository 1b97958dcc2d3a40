import { resolve } from 'node:path'
import type { ServerConfig } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { readSettings, type Settings } from './settings.ts'

function read(env: NodeJS.ProcessEnv, file: ServerConfig = {}): { settings: Settings; reasons: string[] } {
  const reasons: string[] = []
  const settings = readSettings({
    file,
    fileDir: '/etc/errand',
    env,
    refuse: (reason) => reasons.push(reason),
  })
  return { settings, reasons }
}

describe('the settings', () => {
  it('have defaults', () => {
    expect(read({})).toEqual({
      reasons: [],
      settings: {
        host: '127.0.0.1',
        port: 8080,
        publicUrl: undefined,
        tls: undefined,
        trustedProxies: [],
        dataDir: resolve('data'),
        databaseUrl: undefined,
        adminKey: undefined,
        secretKey: undefined,
        retentionDays: 30,
        localAgent: true,
        timeScale: 1,
      },
    })
  })

  it('come from the environment before the file, variable by variable', () => {
    const { settings } = read({ ERRAND_PORT: '9000' }, { port: 1, host: '::1', local_agent: 'off' })
    expect(settings).toMatchObject({ port: 9000, host: '::1', localAgent: false })
  })

  it('take an empty variable as not set', () => {
    expect(read({ ERRAND_PORT: '', DATABASE_URL: '' }, { port: 1 }).settings).toMatchObject({ port: 1 })
  })

  it('resolve the paths of the file beside the file', () => {
    expect(read({}, { data_dir: 'data' }).settings.dataDir).toBe('/etc/errand/data')
    expect(read({ ERRAND_DATA_DIR: 'here' }, { data_dir: 'data' }).settings.dataDir).toBe(resolve('here'))
  })

  it.each([
    [{ ERRAND_PUBLIC_URL: 'https://errand.example/' }, { publicUrl: 'https://errand.example' }],
    [{ ERRAND_TRUSTED_PROXIES: '10.0.0.1, 10.0.0.0/8' }, { trustedProxies: ['10.0.0.1', '10.0.0.0/8'] }],
    [{ ERRAND_TLS_CERT_FILE: '/c', ERRAND_TLS_KEY_FILE: '/k' }, { tls: { certFile: '/c', keyFile: '/k' } }],
    [{ DATABASE_URL: 'postgres://u@h/d' }, { databaseUrl: 'postgres://u@h/d' }],
    [{ ERRAND_RETENTION_DAYS: '0.5' }, { retentionDays: 0.5 }],
    [{ ERRAND_TIME_SCALE: '0.1' }, { timeScale: 0.1 }],
  ])('take %o', (env, expected) => {
    expect(read(env)).toMatchObject({ reasons: [], settings: expected })
  })

  it.each([
    [{ ERRAND_PORT: '80a' }, 'ERRAND_PORT: expected number, received string'],
    [{ ERRAND_PORT: '1.5' }, 'ERRAND_PORT: expected int, received number'],
    [{ ERRAND_PORT: '-1' }, 'ERRAND_PORT: expected number, received string'],
    [{ ERRAND_PORT: '65536' }, 'ERRAND_PORT: Too big: expected number to be <=65535'],
    [{ ERRAND_PUBLIC_URL: 'errand.example' }, 'ERRAND_PUBLIC_URL: Invalid URL'],
    [{ ERRAND_LOCAL_AGENT: 'no' }, 'ERRAND_LOCAL_AGENT: expected one of "on"|"off"'],
    [
      { ERRAND_TLS_KEY_FILE: '/k' },
      'ERRAND_TLS_CERT_FILE and ERRAND_TLS_KEY_FILE: one is set, both are needed',
    ],
    [{ ERRAND_ADMIN_KEY: 'short' }, 'ERRAND_ADMIN_KEY: must be 16 to 512 visible ASCII characters'],
    [{ DATABASE_URL: 'mysql://h' }, 'DATABASE_URL: must begin with postgres:// or postgresql://'],
    [{ ERRAND_TIME_SCALE: '0' }, 'ERRAND_TIME_SCALE: must be above 0 and at most 1'],
    [
      { ERRAND_SECRET_KEY: 'a', ERRAND_SECRET_KEY_FILE: '/b' },
      'ERRAND_SECRET_KEY and ERRAND_SECRET_KEY_FILE are both set: set one of them',
    ],
    [{ ERRAND_ADMIN_KEY_FILE: '/nowhere/key' }, 'ERRAND_ADMIN_KEY_FILE: cannot read /nowhere/key (ENOENT)'],
  ])('refuse %o', (env, reason) => {
    expect(read(env).reasons).toEqual([reason])
  })
})
