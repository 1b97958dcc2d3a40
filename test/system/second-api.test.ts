import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { startApi } from './harness/api.ts'
import { apiForTest } from './harness/for-test.ts'

it('refuses to start on the data of another, naming it, until that one is dead', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'errand-second-'))
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }))
  const first = await apiForTest({ database: 'pglite', dir })
  const { id } = await first.client.submit({ executor: 'local_python_default', code: 'pass' })

  await expect(startApi({ database: 'pglite', dir })).rejects.toThrow(
    `errand: ${dir} is in use by process ${first.process.pid}`,
  )
  expect(await first.client.execution(id)).toMatchObject({ status: 'waiting' })

  await first.kill()
  const second = await apiForTest({ database: 'pglite', dir })
  expect(await second.client.execution(id)).toMatchObject({ status: 'waiting' })
})
