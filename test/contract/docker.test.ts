import { dockerExecutor } from '@errand/shared'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { testImages } from '../../infra/test-images.ts'
import { contract } from './contract.ts'
import type { Harness } from './harness.ts'
import { openDocker } from './open-docker.ts'

contract('docker', open)

async function open(): Promise<Harness> {
  const opened = await openDocker(await testDockerEngine())
  return {
    backend: opened.backend,
    settings: (runtime) => dockerExecutor.parse({ runtime, image: testImages.runtimes }),
    slots: 4,
    // docker-residue.test.ts runs more of them.
    fastExits: 50,
    leftovers: async () => opened.leftovers(),
    close: () => opened.close(),
  }
}
