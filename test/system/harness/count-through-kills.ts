import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionRecord } from '@errand/shared'
import type { TestAgent } from './agent.ts'
import type { Client } from './client.ts'

export interface Counted {
  record: ExecutionRecord
  /** Ids of the containers that it was seen in. */
  containers: string[]
  /** The kills that came before the program had ended. */
  kills: number
  /** Whether standard output is the whole count, in order, and standard error nothing. */
  isWhole: boolean
}

/**
 * Has a program count, ten times a second for so many seconds, and kills its agent again and again meanwhile: each time
 * `pauseMs()` after it was started again.
 */
export async function countThroughKills({
  client,
  agent,
  executor,
  kills,
  seconds,
  pauseMs,
  containersOf = () => [],
}: {
  client: Client
  agent: TestAgent
  executor: string
  kills: number
  seconds: number
  pauseMs: () => number
  /** Containers of an execution now, where the caller can see them. */
  containersOf?: (id: string) => string[]
}): Promise<Counted> {
  const code = `import time\nfor n in range(${seconds * 10}): print(n, flush=True); time.sleep(0.1)`
  const { id } = await client.submit({ executor, code, timeout_sec: seconds * 2 + 60 })
  await client.status(id, 'running')
  const containers = new Set<string>()
  let killed = 0
  while (killed < kills) {
    await sleep(pauseMs())
    if (await hasEnded(client, id)) break
    await agent.kill()
    for (const container of containersOf(id)) containers.add(container)
    agent.launch()
    killed += 1
  }
  const record = await client.final(id, (seconds * 2 + 60) * 1_000)
  const expected = Array.from({ length: seconds * 10 }, (_, n) => `${n}\n`).join('')
  const isWhole = (await client.output(id, 'stdout')).toString() === expected && record.stderr_bytes === 0
  return { record, containers: [...containers], kills: killed, isWhole }
}

async function hasEnded(client: Client, id: string): Promise<boolean> {
  return (await client.execution(id)).completed
}
