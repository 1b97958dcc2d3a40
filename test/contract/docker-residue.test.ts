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

const runs = 240
const atOnce = 8

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

test(
  `DI-04: ${runs} runs at ${atOnce} at once lose no byte, leave nothing on the Engine, and no memory in the agent`,
  { timeout: 600_000 },
  async () => {
    const socketPath = await testDockerEngine()
    const opened = await openDocker(socketPath)
    const settings = dockerExecutor.parse({ image: testImages.python })
    const heap: number[] = []
    let started = 0
    const worker = async (slot: number): Promise<void> => {
      while (started < runs) {
        if (started++ % 60 === 0) {
          collectGarbage()
          heap.push(process.memoryUsage().heapUsed)
        }
        const submission = { code, env: { [tag.name]: tag.value } }
        const run = await drive({ backend: opened.backend, settings, submission, slot })
        expect([run.outcome, run.end?.exit_code]).toEqual(['failed', 3])
        expect(run.stdout.equals(numbersTo(20_000)) && run.stderr.equals(numbersTo(2_000))).toBe(true)
      }
    }
    await Promise.all(Array.from({ length: atOnce }, (_, slot) => worker(slot)))
    collectGarbage()
    heap.push(process.memoryUsage().heapUsed)
    expect(await opened.lasting()).toEqual([])
    expect(opened.logged).toEqual([])
    // from after the first sixty on
    expect(heap.at(-1)! - heap[1]!).toBeLessThan(10 * 2 ** 20)
    await opened.close()
    expect(docker(socketPath, 'volume', 'ls', '-q', `--filter=label=io.errand.agent=${opened.mark}`)).toEqual(
      [],
    )
    expect(processesWith(tag.name, tag.value)).toEqual([])
  },
)

const code = `
import os
os.write(1, b"".join(b"%d\\n" % n for n in range(1, 20_001)))
os.write(2, b"".join(b"%d\\n" % n for n in range(1, 2_001)))
os._exit(3)
`

function numbersTo(last: number): Buffer {
  return Buffer.from(Array.from({ length: last }, (_, at) => `${at + 1}\n`).join(''))
}
