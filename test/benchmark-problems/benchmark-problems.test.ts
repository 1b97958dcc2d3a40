import { expect, it } from 'vitest'
import { agentForTest, apiForTest } from '../system/harness/for-test.ts'
import { loadProblems } from './problems.ts'
import { runProblems } from './run-problems.ts'

const executor = 'local_python_default'

it('passes every problem with its reference solution and fails every one without a body', async () => {
  const { problems } = loadProblems()
  const api = await apiForTest({ database: 'pglite' })
  await agentForTest({ api })
  expect(await runProblems(api.client, executor, problems, 'canonical')).toEqual({
    succeeded: problems.length,
  })
  expect(await runProblems(api.client, executor, problems, 'unimplemented')).toEqual({
    failed: problems.length,
  })
}, 300_000)
