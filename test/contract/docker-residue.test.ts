import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { dockerExecutor } from '@errand/shared'
import { expect, test } from 'vitest'
import { testImages } from '../../infra/test-images.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { drive } from './drive.ts'
import { tag } from './harness.ts'
import { docker, openDocker } from './open-docker.ts'
import { processesWith } from './processes-with.ts'

const runs = 500
const atOnce = 8

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

test(
  `${runs} runs at ${atOnce} at once leave nothing on the Engine, and no memory in the agent`,
  { timeout: 600_000 },
  async () => {
    const socketPath = await testDockerEngine()
    const opened = await openDocker(socketPath)
    const settings = dockerExecutor.parse({ image: testImages.python })
    const heap: number[] = []
    let started = 0
    const worker = async (slot: number): Promise<void> => {
      while (started < runs) {
        if (started++ % 100 === 0) {
          collectGarbage()
          heap.push(process.memoryUsage().heapUsed)
        }
        const submission = { code: 'print("x" * 100_000)', env: { [tag.name]: tag.value } }
        const { outcome, stdout } = await drive({ backend: opened.backend, settings, submission, slot })
        expect([outcome, stdout.length]).toEqual(['succeeded', 100_001])
      }
    }
    await Promise.all(Array.from({ length: atOnce }, (_, slot) => worker(slot)))
    collectGarbage()
    heap.push(process.memoryUsage().heapUsed)
    expect(await opened.lasting()).toEqual([])
    expect(opened.logged).toEqual([])
    // from after the first hundred on
    expect(heap.at(-1)! - heap[1]!).toBeLessThan(10 * 2 ** 20)
    await opened.close()
    expect(docker(socketPath, 'volume', 'ls', '-q', `--filter=label=io.errand.agent=${opened.mark}`)).toEqual(
      [],
    )
    expect(processesWith(tag.name, tag.value)).toEqual([])
  },
)
