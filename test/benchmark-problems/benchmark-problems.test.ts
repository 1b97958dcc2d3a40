import { expect, it, onTestFinished } from 'vitest'
import { startSshServer } from '../../infra/ssh-server.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { errandOn, type Place } from './errand-on.ts'
import { loadProblems } from './problems.ts'
import { runProblems } from './run-problems.ts'

it.each([
  ['localhost', async (): Promise<Place> => ({ on: 'localhost' })],
  ['docker', async (): Promise<Place> => ({ on: 'docker', socketPath: await testDockerEngine() })],
  ['ssh', onSsh],
])(
  'on %s passes every problem with its reference solution and fails every one without a body',
  async (_, placeOf) => {
    const { problems } = loadProblems()
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
