import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { localhostExecutor } from '@errand/shared'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { assignment } from '../../testing/agent-under-test.ts'
import { checkHost } from './check-host.ts'

const found = { id: 'python3.11.2', version: '3.11.2', interpreter: '/usr/bin/python3', launcher: undefined }

describe('checkHost', () => {
  let workRoot: string
  beforeEach(() => {
    workRoot = mkdtempSync(join(tmpdir(), 'errand-check-'))
  })
  afterEach(() => rmSync(workRoot, { recursive: true, force: true }))

  async function check(
    settings: object = {},
    more: { fault?: string; missing?: boolean; limits?: string[] } = {},
  ) {
    const { executor, runtime, limits } = assignment([])
    const asked: unknown[] = []
    const report = await checkHost(
      {
        executor: { ...executor, settings: localhostExecutor.parse(settings) },
        runtime,
        limits,
        required_limits: more.limits ?? [],
        signal: new AbortController().signal,
      },
      {
        lookup: (...given) => {
          asked.push(given)
          return Promise.resolve(more.missing ? undefined : found)
        },
        fault: more.fault,
        workRoot,
      },
    )
    return { ...report, asked, wrong: report.findings.filter((one) => !one.ok) }
  }

  it('finds sandbox, interpreter, limits and room, each in words', async () => {
    const { runtime_id, findings, wrong } = await check()
    expect(runtime_id).toBe('python3.11.2')
    expect(findings.map(({ what }) => what)).toEqual(['sandbox', 'interpreter', 'limits', 'disk'])
    expect(wrong).toEqual([])
    expect(findings.at(-1)!.detail).toMatch(new RegExp(`^\\d+ MB are free in ${workRoot}$`))
  })

  it('says what does not work and what to do about it', async () => {
    expect((await check({}, { fault: 'bubblewrap is missing' })).wrong).toMatchObject([
      { what: 'sandbox', detail: 'bubblewrap is missing' },
    ])
    expect(await check({}, { missing: true })).toMatchObject({
      runtime_id: null,
      wrong: [
        { what: 'interpreter', detail: expect.stringContaining('python3'), advice: expect.any(String) },
      ],
    })
    expect((await check({}, { limits: ['mem_limit_mb', 'output_limit_kb'] })).wrong).toMatchObject([
      { what: 'limits', detail: expect.stringContaining('mem_limit_mb'), advice: expect.any(String) },
    ])
    chmodSync(workRoot, 0o777)
    expect((await check({ work_dir: workRoot })).wrong).toMatchObject([{ what: 'disk' }])
    expect((await check({ work_dir: '/nowhere' })).wrong).toMatchObject([{ what: 'disk' }])
  })

  it('looks for the interpreter of the executor only for its own runtime', async () => {
    const path = '/opt/python'
    expect((await check({ code_executor_path: path })).asked).toEqual([['python', path]])
    expect((await check({ runtime: 'ruby', code_executor_path: path })).asked).toEqual([
      ['python', undefined],
    ])
  })
})
