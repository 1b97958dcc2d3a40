import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { Engine } from './engine.ts'

export type Answer = (request: IncomingMessage, response: ServerResponse) => void

export const json = (response: ServerResponse, body: unknown, status = 200): void => {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** An Engine that says what it is told to say. */
export async function fakeEngine(answer: Answer, version: object = {}, { pullSilenceMs = 500 } = {}) {
  const dir = mkdtempSync(join(tmpdir(), 'errand-fake-engine-'))
  const asked: string[] = []
  let hangs = false
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`)
    if (hangs) return
    if (request.url?.endsWith('/version'))
      json(response, {
        Version: '20.10.24',
        ApiVersion: '1.41',
        MinAPIVersion: '1.12',
        Arch: 'amd64',
        ...version,
      })
    else if (request.url?.endsWith('/info'))
      json(response, { NCPU: 2, MemoryLimit: true, CpuCfsQuota: true, PidsLimit: true, SecurityOptions: [] })
    else answer(request, response)
  })
  const socket = join(dir, 'docker.sock')
  server.listen(socket)
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
    rmSync(dir, { recursive: true })
  })
  const engine = new Engine({ DOCKER_HOST: `unix://${socket}` }, { engineAnswerMs: 500, pullSilenceMs })
  return { asked, engine, hang: () => void (hangs = true) }
}
