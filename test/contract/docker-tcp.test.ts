import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import { agentPolicy, dockerExecutor, timeConstants } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { testImages } from '../../infra/test-images.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { createDocker } from '../../apps/agent/src/backends/docker/docker.ts'
import { drive } from './drive.ts'

describe('docker on an Engine that is reached by TCP', () => {
  let socketPath: string
  const certificates = mkdtempSync(join(tmpdir(), 'errand-certificates-'))
  beforeAll(async () => {
    socketPath = await testDockerEngine()
    makeCertificates(certificates)
  }, 180_000)
  afterAll(() => rmSync(certificates, { recursive: true }))

  const relay = (client: Socket): void => {
    const engine = connect(socketPath)
    client.pipe(engine).pipe(client)
    client.on('error', () => {}).on('close', () => engine.destroy())
    engine.on('error', () => {}).on('close', () => client.destroy())
  }

  async function listening(server: Server): Promise<string> {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    return `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  /** A backend for an agent that has this environment. */
  function open(env: NodeJS.ProcessEnv) {
    const silent = (): void => {}
    const log = { debug: silent, info: silent, warn: silent, error: silent }
    const policy = agentPolicy.parse({})
    const parts = {
      agentDir: certificates,
      spoolId: crypto.randomUUID(),
      slots: 1,
      maintenanceSlots: 2,
      stockChanged: () => {},
      now: Date.now,
      policy,
      time: timeConstants,
      log,
    }
    const backend = createDocker(parts, env)
    onTestFinished(() => backend.close())
    const settings = dockerExecutor.parse({ image: testImages.python })
    return { backend, run: () => drive({ backend, settings, submission: { code: 'print("hello")' } }) }
  }

  const tlsServer = (): Server =>
    createTlsServer(
      {
        key: readFileSync(join(certificates, 'server-key.pem')),
        cert: readFileSync(join(certificates, 'server.pem')),
        ca: readFileSync(join(certificates, 'ca.pem')),
        requestCert: true,
        rejectUnauthorized: true,
      },
      relay,
    )

  test('runs', async () => {
    const { run } = open({ DOCKER_HOST: await listening(createServer(relay)) })
    expect((await run()).stdout.toString()).toBe('hello\n')
  })

  test('runs over TLS with certificates of both sides', async () => {
    const DOCKER_HOST = await listening(tlsServer())
    const { run } = open({ DOCKER_HOST, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: certificates })
    expect((await run()).stdout.toString()).toBe('hello\n')
  })

  test('trusts no Engine whose certificate another authority signed', async () => {
    const others = mkdtempSync(join(tmpdir(), 'errand-certificates-'))
    onTestFinished(() => rmSync(others, { recursive: true }))
    makeCertificates(others)
    const DOCKER_HOST = await listening(tlsServer())
    const { backend, run } = open({ DOCKER_HOST, DOCKER_TLS_VERIFY: '1', DOCKER_CERT_PATH: others })
    const words = `the Docker Engine at ${DOCKER_HOST} is not trusted`
    await expect(run()).rejects.toThrow(words)
    expect((await backend.probe()).missing[0]).toContain(words)
  })
})

/** An authority, and what it signed for server and client. */
function makeCertificates(dir: string): void {
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: dir, stdio: 'ignore' })
  }
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl('req', '-x509', ...key, '-subj', '/CN=authority', '-keyout', 'ca-key.pem', '-out', 'ca.pem')
  for (const [name, cert, keyFile] of [
    ['127.0.0.1', 'server.pem', 'server-key.pem'],
    ['agent', 'cert.pem', 'key.pem'],
  ] as const) {
    const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1']
    openssl(
      'req',
      '-x509',
      ...key,
      ...subject,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca-key.pem',
      '-keyout',
      keyFile,
      '-out',
      cert,
    )
  }
}
