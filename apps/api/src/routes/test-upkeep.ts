import type { Assignment, Job, JobLogLine } from '@errand/shared'
import { expect } from 'vitest'
import type { TestApp } from './test-app.ts'

export type TestAgent = Awaited<ReturnType<TestApp['connectAgent']>>

const backends = {
  docker: { available: true, isolation: null, missing: [] },
  localhost: { available: true, isolation: null, missing: [] },
}

/** An executor of each type that allows packages, with so many agents that serve these two and nobody else. */
export async function openUpkeep(test: TestApp, agents = 1) {
  const only = crypto.randomUUID().slice(0, 8)
  const common = {
    agent_labels: { only },
    allow_dependencies: true,
    index_url: 'https://packages.example/simple',
  }
  const docker = `docker-${only}`
  const local = `local-${only}`
  for (const executor of [
    { name: docker, executor_type: 'docker', image: 'registry.example/py:1', ...common },
    { name: local, executor_type: 'localhost', ...common },
  ]) {
    const made = await test.request('POST', '/executors', { body: executor })
    if (made.status !== 201) throw new Error(await made.text())
  }
  const connected: TestAgent[] = []
  for (let n = 0; n < agents; n++)
    connected.push(await test.connectAgent(0, `${only}-${n}`, { labels: { only }, backends }))
  return { docker, local, agents: connected, download, job, given }

  async function download(more: object = {}, key = test.keys.admin): Promise<Job> {
    const body = { type: 'docker_image.download', params: { code_executor: docker }, ...more }
    const answer = await test.request('POST', '/jobs', { body, key })
    if (answer.status !== 202) throw new Error(await answer.text())
    return (await answer.json()) as Job
  }

  async function job(id: string): Promise<Job> {
    return (await (await test.request('GET', `/jobs/${id}`)).json()) as Job
  }

  /** What the nth agent is given for a free slot of this class. */
  async function given(n = 0, slot: 'maintenance' | 'run' = 'maintenance'): Promise<Assignment> {
    const agent = connected[n]!
    const before = agent.assigned.length
    agent.grant(slot === 'run' ? 1 : 0, 0, slot === 'run' ? 0 : 1)
    await expect.poll(() => agent.assigned.length).toBe(before + 1)
    return agent.assigned.at(-1)!
  }
}

/** Lines as an agent writes its log. */
export function logText(...lines: Partial<JobLogLine>[]): Uint8Array<ArrayBuffer> {
  const written = lines.map(({ time = '2026-11-28T00:00:00.000Z', level = 'info', message = '' }) =>
    JSON.stringify({ time, level, message }),
  )
  return new TextEncoder().encode(written.map((line) => `${line}\n`).join(''))
}
