import { parseArgs } from 'node:util'
import { startAgent } from '../system/harness/agent.ts'
import { startApi } from '../system/harness/api.ts'
import { Client } from '../system/harness/client.ts'
import { loadProblems } from './problems.ts'
import { runProblems } from './run-problems.ts'

// `npm run benchmark-problems`: every problem with its reference solution, then with a body that must fail.

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    key: { type: 'string' },
    executor: { type: 'string', default: 'local_python_default' },
  },
})
const { name, problems } = loadProblems()
const errand = values.url ? running(values.url, values.key ?? '') : await ownErrand()
for (const body of ['canonical', 'unimplemented'] as const) {
  const began = performance.now()
  const counts = await runProblems(errand.client, values.executor, problems, body)
  const seconds = (performance.now() - began) / 1000
  const text = Object.entries(counts).map(([outcome, count]) => `${count} ${outcome}`)
  console.log(`${name}, ${problems.length} problems, ${body}: ${text.join(', ')} in ${seconds.toFixed(1)} s`)
}
await errand.close()

function running(url: string, key: string): { client: Client; close(): Promise<void> } {
  return { client: new Client(url, key), close: async () => {} }
}

async function ownErrand(): Promise<{ client: Client; close(): Promise<void> }> {
  const api = await startApi({ database: 'pglite' })
  const agent = await startAgent({ api })
  return {
    client: api.client,
    async close() {
      await agent.close()
      await api.close()
    },
  }
}
