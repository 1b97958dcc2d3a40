import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import type { TestProject } from 'vitest/node'
import { startDockerEngine, type DockerEngine } from './docker-engine.ts'
import { madeTestImages } from './test-images.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** Where `testDockerEngine` asks for the Engine of this test run. */
    dockerEnginePort: number
  }
}

/** vitest's global set-up: one Docker Engine for the whole run, which starts when the first test asks for it. */
export default async function sharedDockerEngine(project: TestProject): Promise<() => Promise<void>> {
  let engine: Promise<DockerEngine> | undefined
  const answer = async (socket: Socket): Promise<void> => {
    socket.on('error', () => {})
    engine ??= madeTestImages().then((images) => startDockerEngine({ images }))
    try {
      socket.end(JSON.stringify({ socketPath: (await engine).socketPath }))
    } catch (error) {
      socket.end(JSON.stringify({ error: (error as Error).message }))
    }
  }
  const server = createServer((socket) => void answer(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  project.provide('dockerEnginePort', (server.address() as AddressInfo).port)
  return async () => {
    server.close()
    // One that did not start was told to the tests that asked.
    await (await engine?.catch(() => undefined))?.stop()
  }
}
