import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { engineAddress } from './engine-address.ts'

describe('engineAddress', () => {
  const certificates = mkdtempSync(join(tmpdir(), 'errand-certificates-'))
  for (const name of ['ca', 'cert', 'key']) writeFileSync(join(certificates, `${name}.pem`), name)
  afterAll(() => rmSync(certificates, { recursive: true }))

  it.each([
    [{}, { socketPath: '/var/run/docker.sock', host: undefined }],
    [{ DOCKER_HOST: '' }, { socketPath: '/var/run/docker.sock' }],
    [{ DOCKER_HOST: 'unix:///run/user/1000/docker.sock' }, { socketPath: '/run/user/1000/docker.sock' }],
    [
      { DOCKER_HOST: 'tcp://engine:2375' },
      { protocol: 'http', host: 'engine', port: '2375', socketPath: undefined },
    ],
    [{ DOCKER_HOST: 'tcp://engine' }, { protocol: 'http', host: 'engine', port: 2375 }],
    [
      { DOCKER_HOST: 'tcp://engine', DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: certificates },
      {
        protocol: 'https',
        port: 2376,
        ca: Buffer.from('ca'),
        cert: Buffer.from('cert'),
        key: Buffer.from('key'),
      },
    ],
    [
      { DOCKER_HOST: 'tcp://engine:1', DOCKER_CERT_PATH: certificates },
      { protocol: 'https', port: '1' },
    ],
    [{ DOCKER_HOST: 'http://engine:80' }, { protocol: 'http', host: 'engine', port: '80' }],
    [{ DOCKER_HOST: 'http://[::1]:2375' }, { protocol: 'http', host: '::1', port: '2375' }],
  ])('reads %o', (env, options) => {
    expect(engineAddress(env).options).toMatchObject(options)
    expect(engineAddress(env).name).toBe(
      (env as NodeJS.ProcessEnv)['DOCKER_HOST'] || 'unix:///var/run/docker.sock',
    )
  })

  it.each([
    'ssh://me@host',
    'unix://',
    'unix://relative',
    'npipe:////./pipe/docker',
    'host:2375',
    'tcp://',
    'tcp://a/b',
  ])('refuses %s by name', (DOCKER_HOST) => {
    expect(() => engineAddress({ DOCKER_HOST })).toThrow(`DOCKER_HOST ${DOCKER_HOST} is not understood`)
  })

  it('names the certificate that is missing', () => {
    const env = { DOCKER_HOST: 'tcp://engine', DOCKER_CERT_PATH: '/nowhere' }
    expect(() => engineAddress(env)).toThrow('DOCKER_CERT_PATH: /nowhere/ca.pem cannot be read')
  })
})
