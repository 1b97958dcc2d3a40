import { startDockerEngine } from '../../infra/docker-engine.ts'
import { testImages, madeTestImages } from '../../infra/test-images.ts'
import { startAgent } from '../system/harness/agent.ts'
import { startApi } from '../system/harness/api.ts'
import { containersOf } from '../system/harness/containers-of.ts'
import { countThroughKills } from '../system/harness/count-through-kills.ts'

/**
 * CR-21 at full size: `node test/chaos/count-through-agent-kills.ts [KILLS] [SECONDS]`. A container counts for 120 s, and
 * its agent is killed 20 times meanwhile, 1.5 to 7.5 s after each start. Prints what became of it; ends with 1 where
 * anything is not as it must be.
 */
const [kills = 20, seconds = 120] = process.argv.slice(2).map(Number)
const config = JSON.stringify({ code_executors: { docker: { container: { image: testImages.python } } } })

const engine = await startDockerEngine({ images: await madeTestImages() })
try {
  const api = await startApi({ database: 'pglite', config })
  const agent = await startAgent({ api, slots: 1, env: { DOCKER_HOST: `unix://${engine.socketPath}` } })
  try {
    const counted = await countThroughKills({
      client: api.client,
      agent,
      executor: 'container',
      kills,
      seconds,
      pauseMs: () => 1_500 + Math.random() * 6_000,
      containersOf: (id) => containersOf(engine.socketPath, id),
    })
    const { outcome, attempt, container_id, duration_sec } = counted.record
    const { isWhole, containers } = counted
    const seen = {
      kills: counted.kills,
      outcome,
      attempt,
      containers: containers.length,
      isWhole,
      duration_sec,
    }
    process.stdout.write(`${JSON.stringify(seen)}\n`)
    const isSame = containers.every((one) => one === container_id)
    const isRight = outcome === 'succeeded' && attempt === 1 && isWhole && isSame
    process.exitCode = isRight && counted.kills >= Math.min(kills, seconds / 8) ? 0 : 1
  } finally {
    await agent.close()
    await api.close()
  }
} finally {
  await engine.stop()
}
