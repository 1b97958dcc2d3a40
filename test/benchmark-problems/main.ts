import { parseArgs } from 'node:util'
import { startDockerEngine } from '../../infra/docker-engine.ts'
import { startSshServer } from '../../infra/ssh-server.ts'
import { madeTestImages } from '../../infra/test-images.ts'
import { Client } from '../system/harness/client.ts'
import { errandOn, type Errand, type Place } from './errand-on.ts'
import { loadProblems } from './problems.ts'
import { runProblems } from './run-problems.ts'

// `npm run benchmark-problems`: every problem with its reference solution, then with a body that must fail. On
// localhost, docker and ssh of its own (as root), or `--on` one of them, or on what runs at `--url`.

const { values } = parseArgs({
  options: {
    on: { type: 'string', multiple: true, default: ['localhost', 'docker', 'ssh'] },
    url: { type: 'string' },
    key: { type: 'string', default: '' },
    executor: { type: 'string', default: 'local_python_default' },
  },
})
const { name, problems } = loadProblems()
if (values.url === undefined) for (const on of values.on) await runOn(on)
else await count({ client: new Client(values.url, values.key), executor: values.executor })

async function runOn(on: string): Promise<void> {
  const { place, stop } = await placeOn(on)
  const errand = await errandOn(place)
  await count(errand)
  await errand.close()
  await stop()
}

async function placeOn(on: string): Promise<{ place: Place; stop: () => Promise<void> }> {
  switch (on) {
    case 'localhost':
      return { place: { on }, stop: async () => {} }
    case 'docker': {
      const engine = await startDockerEngine({ images: await madeTestImages() })
      return { place: { on, socketPath: engine.socketPath }, stop: () => engine.stop() }
    }
    case 'ssh': {
      const server = await startSshServer()
      return { place: { on, server }, stop: () => server.stop() }
    }
    default:
      throw new Error(`--on must be localhost, docker or ssh, and is ${on}`)
  }
}

async function count({ client, executor }: Pick<Errand, 'client' | 'executor'>): Promise<void> {
  for (const body of ['canonical', 'unimplemented'] as const) {
    const began = performance.now()
    const counts = await runProblems(client, executor, problems, body)
    const seconds = (performance.now() - began) / 1000
    const text = Object.entries(counts).map(([outcome, number]) => `${number} ${outcome}`)
    console.log(
      `${name}, ${problems.length} problems on ${executor}, ${body}: ${text.join(', ')} in ${seconds.toFixed(1)} s`,
    )
  }
}
