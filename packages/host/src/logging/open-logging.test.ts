import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import type { LoggingConfig } from '@errand/shared/logging-config'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Console } from './console-sink.ts'
import { openLogging } from './open-logging.ts'
import type { Logging } from './open-logging.ts'

let baseDir: string
let console: Console
let printed: string
let logging: Logging | undefined

beforeEach(() => {
  baseDir = mkdtempSync(join(tmpdir(), 'errand-logging-'))
  printed = ''
  console = new Writable({
    write: (chunk, _encoding, done) => {
      printed += String(chunk)
      done()
    },
  })
})

afterEach(() => {
  logging?.close()
  rmSync(baseDir, { recursive: true })
})

describe('openLogging', () => {
  test('writes JSON lines with standard fields and bindings, and the same to the console for people', () => {
    const { job } = open({ main: { file: 'logs/main.log' } })
    job.child({ job_id: 'j1', agent_id: 'a1' }).info({ execution_id: 'e1' }, 'started')
    const [line] = records('logs/main.log')
    expect(line).toMatchObject({ level: 30, name: 'job', job_id: 'j1', agent_id: 'a1', execution_id: 'e1' })
    expect(line).toMatchObject({ msg: 'started', pid: process.pid, time: expect.any(Number) as number })
    expect(printed).toContain('INFO (job): started {"job_id":"j1","agent_id":"a1","execution_id":"e1"}')
  })

  test('has a level for the console and one for the file', () => {
    const { main } = open({ main: { console_level: 'error', file_level: 'debug', file: 'm.log' } })
    main.trace('1')
    main.debug('2')
    main.error('3')
    expect(records('m.log').map(({ msg }) => msg)).toEqual(['2', '3'])
    expect(printed).toMatch(/^[^\n]*ERROR \(main\): 3\n$/)
  })

  test('makes no file for a section that is silent there', () => {
    const { main, codeExecutor } = open({
      main: { console_level: 'silent', file_level: 'silent', file: 'm.log' },
      code_executor: { console_level: 'info' },
    })
    main.fatal('1')
    codeExecutor.info('2')
    logging!.close()
    expect(existsSync(join(baseDir, 'm.log'))).toBe(false)
    expect(printed).toMatch(/^[^\n]*INFO \(code_executor\): 2\n$/)
  })

  test('writes sections to the file of main unless they name their own', () => {
    const { main, job, codeExecutor } = open({ main: { file: 'm.log' }, code_executor: { file: 'c.log' } })
    main.info('1')
    codeExecutor.info('2')
    job.info('3')
    expect(records('m.log').map(({ name, msg }) => [name, msg])).toEqual([
      ['main', '1'],
      ['job', '3'],
    ])
    expect(records('c.log').map(({ name, msg }) => [name, msg])).toEqual([['code_executor', '2']])
  })

  test('rotates a file that sections share as one', () => {
    const { main, job } = open({ main: { file: 'm.log', max_size_mb: 0.001, max_backups: 1 } })
    for (let count = 0; count < 50; count += 1) [main, job].forEach((logger) => logger.info({ count }, 'x'))
    logging!.close()
    expect(readFileSync(join(baseDir, 'm.log')).length).toBeLessThan(1049)
    expect(records('m.log').at(-1)).toMatchObject({ count: 49, name: 'job' })
  })

  test('lets no secret through bindings, data, message values or errors', () => {
    const { main } = open({ main: { file: 'm.log', console_level: 'trace' } })
    const data = { password: 'hunter2', list: [{ deep: { code: 'hunter2' } }] }
    const error = Object.assign(new Error('Failed query: x\nparams: hunter2'), {
      query: 'x',
      params: ['hunter2'],
    })
    main.child({ token: 'hunter2', data }).info(data, 'with %j and %o', data, error)
    main.info(data)
    main.error(error)
    main.error({ err: error, other: error, deep: { error } }, 'failed')
    main.child({ err: error }).error('failed')
    expect(records('m.log')).toHaveLength(5)
    expect(readFileSync(join(baseDir, 'm.log'), 'utf8') + printed).not.toContain('hunter2')
  })

  test('describes errors wherever they stand', () => {
    const { main } = open({ main: { file: 'm.log' } })
    const error = Object.assign(new Error('no such file'), { code: 'ENOENT' })
    main.error(error)
    main.error(error, 'cannot start %s', 'x')
    main.error({ err: error, other: error, job_id: 'j' })
    const described = { type: 'Error', message: 'no such file', code: 'ENOENT' }
    expect(records('m.log')).toMatchObject([
      { err: described, msg: 'no such file' },
      { err: described, msg: 'cannot start x' },
      { err: described, other: described, job_id: 'j' },
    ])
  })

  test.each([true, false])('lets no control character through (TTY: %s)', (isTTY) => {
    console.isTTY = isTTY
    const { main } = open({ main: { file: 'm.log' } })
    const hostile = `\x1b[2J\r\x07\x00\x7f\x9b31m\x90\u202e\u2066\u2069\\u001b \\ ü 漢`
    main
      .child({ [hostile]: hostile })
      .info({ [`2${hostile}`]: { [hostile]: [hostile] }, err: new Error(hostile) }, hostile)
    main.info(hostile)

    const control = /[^\P{Cc}\n\t]|[\u202a-\u202e\u2066-\u2069]/u
    const text = readFileSync(flushed('m.log'), 'utf8')
    expect(text).not.toMatch(control)
    expect(records('m.log')[1]).toMatchObject({ msg: hostile })
    // oxlint-disable-next-line no-control-regex
    expect(printed.replaceAll(/\x1b\[\d+m/g, '')).not.toMatch(control)
    expect(printed).not.toContain('\x1b[2J')
    expect(printed).toContain(String.raw`\u001b[2J\r\u0007\u0000\u007f\u009b31m`)
    expect(printed).toContain('ü 漢')
  })

  test.each([
    ['ends by process.exit', 'process.exit(0)', 0],
    ['throws', `throw new Error('x')`, 1],
    ['ends', '', 0],
  ])('writes out what waits when the process %s', (_name, code, status) => {
    expect(run(`logging.main.info('last'); ${code}`).status).toBe(status)
    expect(records('m.log').map(({ msg }) => msg)).toEqual(['last'])
  })

  test('has written a fatal line before it returns', () => {
    expect(
      run(`logging.main.info('one'); logging.main.fatal('two'); process.kill(process.pid, 'SIGKILL')`).signal,
    ).toBe('SIGKILL')
    expect(records('m.log').map(({ msg }) => msg)).toEqual(['one', 'two'])
  })

  test('outlives a console whose reader has gone', () => {
    const { status } = run(
      `const timer = setInterval(() => logging.main.info('x'), 1)
      process.stderr.on('close', () => setTimeout(() => { clearInterval(timer); logging.close() }, 10))`,
      '2>&1 >/dev/null | head -n1; exit',
    )
    expect(status).toBe(0)
    expect(records('m.log').length).toBeGreaterThan(1)
  })

  test('reports a file that cannot be written on the console, and goes on', () => {
    const { main } = open({ main: { file: '/dev/null/m.log' } })
    main.info('1')
    main.info('2')
    logging!.close()
    expect(printed.match(/WARN \(logging\): cannot write/g)).toHaveLength(1)
  })
})

function open(config: LoggingConfig): Logging {
  logging = openLogging(config, { baseDir, console, env: {} })
  return logging
}

/** Runs code in a process of its own, where `logging` writes to `m.log`. */
function run(code: string, redirect = ''): { status: number | null; signal: NodeJS.Signals | null } {
  const library = JSON.stringify(join(import.meta.dirname, 'open-logging.ts'))
  const script = `import { openLogging } from ${library}
    const logging = openLogging({ main: { file: 'm.log' } }, { baseDir: ${JSON.stringify(baseDir)} })
    ${code}`
  const command = redirect
    ? `"$0" --input-type=module --eval "$1" ${redirect}`
    : 'exec "$0" --input-type=module --eval "$1"'
  return spawnSync('bash', ['-o', 'pipefail', '-c', command, process.execPath, script], { stdio: 'ignore' })
}

function flushed(file: string): string {
  logging?.close()
  return join(baseDir, file)
}

function records(file: string): Record<string, unknown>[] {
  const lines = readFileSync(flushed(file), 'utf8').trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>)
}
