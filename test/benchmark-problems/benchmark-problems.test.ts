import { expect, it, onTestFinished } from 'vitest'
import { startSshServer } from '../../infra/ssh-server.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { errandOn, type Place } from './errand-on.ts'
import { loadProblems } from './problems.ts'
import { runProblems } from './run-problems.ts'

it.each([
  ['localhost', 'every problem', async (): Promise<Place> => ({ on: 'localhost' })],
  [
    'docker',
    'some problems',
    async (): Promise<Place> => ({ on: 'docker', socketPath: await testDockerEngine() }),
  ],
  ['ssh', 'every problem', onSsh],
])(
  'on %s passes %s with the reference solution, and none without a body',
  async (_, which, placeOf) => {
    // A container takes its time: `npm run benchmark-problems` runs all of them there too.
    const step = which === 'some problems' ? 5 : 1
    const problems = loadProblems().problems.filter((_problem, at) => at % step === 0)
    const { client, executor, close } = await errandOn(await placeOf())
    onTestFinished(close)
    expect(await runProblems(client, executor, problems, 'canonical')).toEqual({ succeeded: problems.length })
    expect(await runProblems(client, executor, problems, 'unimplemented')).toEqual({
      failed: problems.length,
    })
  },
  300_000,
)

async function onSsh(): Promise<Place> {
  const server = await startSshServer()
  onTestFinished(() => server.stop())
  return { on: 'ssh', server }
}
