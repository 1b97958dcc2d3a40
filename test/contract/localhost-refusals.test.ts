import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { localhostExecutor } from '@errand/shared'
import type { SubmissionBody } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Rejected } from '../../apps/agent/src/backends/backend.ts'
import { drive } from './drive.ts'
import type { Driven, Driving } from './drive.ts'
import { openLocalhost } from './open-localhost.ts'
import type { OpenLocalhost } from './open-localhost.ts'

describe('localhost', () => {
  let opened: OpenLocalhost
  beforeAll(async () => {
    opened = await openLocalhost()
  })
  afterAll(() => opened.close())

  const run = (
    settings: object,
    submission: Omit<SubmissionBody, 'executor'>,
    more: Partial<Driving> = {},
  ): Promise<Driven> =>
    drive({ backend: opened.backend, settings: localhostExecutor.parse(settings), submission, ...more })

  test('refuses limits that it can not keep, by name', async () => {
    const requiredLimits = ['mem_limit_mb', 'output_limit_kb', 'pids_limit']
    const refused = run({}, { code: '' }, { requiredLimits })
    await expect(refused).rejects.toThrow(Rejected)
    await expect(refused).rejects.toThrow(/cannot keep mem_limit_mb, pids_limit for/)
  })

  test('refuses arguments and variables that the kernel would not take', async () => {
    const env = Object.fromEntries(
      Array.from({ length: 20 }, (_, index) => [`V${index}`, 'x'.repeat(131_000)]),
    )
    await expect(run({}, { code: '', env })).rejects.toThrow(Rejected)
    expect((await run({}, { code: '', env: { V: 'x'.repeat(131_000) } })).outcome).toBe('succeeded')
  })

  test('refuses a work_dir that is missing, or that others may write to', async () => {
    await expect(run({ work_dir: '/nowhere' }, { code: '' })).rejects.toThrow(/\/nowhere is no directory/)
    await expect(run({ work_dir: '/tmp' }, { code: '' })).rejects.toThrow(/\/tmp is writable by others/)
  })

  test('fails by its own fault where there is no interpreter, and says what it looked for', async () => {
    const failed = run({ code_executor_path: '/opt/nowhere/bin/python3' }, { code: '' })
    await expect(failed).rejects.toThrow('no interpreter for python: looked for /opt/nowhere/bin/python3')
    await expect(failed).rejects.not.toBeInstanceOf(Rejected)
  })

  test.each(['required', 'none'])(
    'uses code_executor_path for its own runtime alone (sandbox: %s)',
    async (sandbox) => {
      const prefix = join(mkdtempSync(join(tmpdir(), 'errand-python-')), 'environment')
      chmodSync(join(prefix, '..'), 0o755)
      mkdirSync(join(prefix, 'bin'), { recursive: true })
      symlinkSync('/usr/bin/python3', join(prefix, 'bin', 'python3'))
      writeFileSync(join(prefix, 'pyvenv.cfg'), 'home = /usr/bin\n')
      const settings = { sandbox, code_executor_path: join(prefix, 'bin', 'python3') }
      const code = 'import sys, os; print(sys.prefix, os.environ["PATH"].split(":")[0])'
      const { stdout, end } = await run(settings, { code })
      const bash = await run(settings, { runtime: 'bash', code: 'echo bash' })
      rmSync(join(prefix, '..'), { recursive: true })
      expect(stdout.toString()).toBe(`${prefix} ${prefix}/bin\n`)
      expect(end.runtime_id).toMatch(/^python3/)
      expect(bash.stdout.toString()).toBe('bash\n')
    },
  )

  test('reports the runtimes of the host with their versions', async () => {
    const found = await opened.backend.runtimes()
    expect(Object.keys(found)).toHaveLength(13)
    expect(Object.values(found).filter((version) => !/^\d+(\.\d+)*$/.test(version))).toEqual([])
  })
})

describe('localhost without bubblewrap', () => {
  let opened: OpenLocalhost
  beforeAll(async () => {
    opened = await openLocalhost({ bwrap: '/nowhere/bwrap', policy: { allow_unsandboxed: false } })
  })
  afterAll(() => opened.close())

  test('says what is missing and what mends it', async () => {
    expect(await opened.backend.probe()).toEqual({
      available: true,
      isolation: null,
      missing: ['the sandbox is missing: /nowhere/bwrap is not installed (apt-get install bubblewrap)'],
    })
  })

  test.each(['required', 'preferred'])(
    'refuses, and never runs unsandboxed (sandbox: %s)',
    async (sandbox) => {
      const settings = localhostExecutor.parse({ sandbox, work_dir: opened.workDir })
      const refused = drive({ backend: opened.backend, settings, submission: { code: '' } })
      await expect(refused).rejects.toThrow(Rejected)
      expect(readdirSync(opened.workDir)).toEqual([])
    },
  )
})

test('localhost takes jobs again once the bubblewrap that was missing is there', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'errand-bwrap-'))
  chmodSync(dir, 0o755)
  const bwrap = join(dir, 'bwrap')
  const opened = await openLocalhost({ bwrap })
  const settings = localhostExecutor.parse({})
  const run = () => drive({ backend: opened.backend, settings, submission: { code: '' } })
  await expect(run()).rejects.toThrow(`the sandbox is missing: ${bwrap}`)
  symlinkSync('/usr/bin/bwrap', bwrap)
  expect((await run()).outcome).toBe('succeeded')
  await opened.close()
  rmSync(dir, { recursive: true })
})

describe('localhost with a bubblewrap that fails', () => {
  test('calls it no failure of the program', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'errand-bwrap-'))
    chmodSync(dir, 0o755)
    const bwrap = join(dir, 'bwrap')
    // works until there is a program
    writeFileSync(
      bwrap,
      '#!/bin/sh\ncase "$*" in */proc/self/fd/6*) echo "bwrap: broken" >&2; exit 1;; esac\nexec /usr/bin/bwrap "$@"\n',
    )
    chmodSync(bwrap, 0o755)
    const opened = await openLocalhost({ bwrap })
    const settings = localhostExecutor.parse({ work_dir: opened.workDir })
    const failed = drive({ backend: opened.backend, settings, submission: { code: 'exit(0)' } })
    await expect(failed).rejects.toThrow('the sandbox failed: bwrap: broken')
    expect(readdirSync(opened.workDir)).toEqual([])
    await opened.close()
    rmSync(dir, { recursive: true })
  })
})
