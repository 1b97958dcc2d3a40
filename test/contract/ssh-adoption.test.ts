import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Assignment, SubmissionBody } from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { Lost } from '../../apps/agent/src/backends/backend.ts'
import { startLink } from '../system/harness/link.ts'
import { until } from '../system/harness/until.ts'
import { drive, driveAdoption } from './drive.ts'
import type { Adopting } from './drive.ts'
import type { Dying } from './dying-ssh-agent.ts'
import { tag } from './harness.ts'
import { openSsh } from './open-ssh.ts'
import type { OpenSsh } from './open-ssh.ts'
import { processesWith } from './processes-with.ts'

type Program = Omit<SubmissionBody, 'executor'>
type Left = Pick<Adopting, 'assignment' | 'kept' | 'stored'>

const program = (code: string, more: Program = {}): Program => ({
  runtime: 'bash',
  code,
  env: { [tag.name]: tag.value },
  ...more,
})
const forEver = (word: string) => `(setsid sleep 300 &); echo ${word}; sleep 300`

describe.each([
  ['the box', false],
  ['a shell in its place', true],
])('ssh runs whose agent is killed, kept by %s', (_, shell) => {
  const choices = shell ? { findBox: () => Promise.resolve(undefined) } : {}
  let opened: OpenSsh
  beforeAll(async () => {
    opened = await openSsh({ choices })
  })
  afterAll(() => opened.close())
  afterEach(nothingIsLeft)

  function nothingIsLeft(): void {
    expect(processesWith(tag.name, tag.value)).toEqual([])
    expect(opened.leftovers()).toEqual([])
  }

  /** Runs these until each has printed so much, then dies; what it had spooled of them, and an agent after it. */
  async function killed(programs: (Program & { until: number })[]): Promise<{ next: OpenSsh; left: Left[] }> {
    const spoolId = crypto.randomUUID()
    const next = await openSsh({ server: opened.server, spoolId, choices })
    onTestFinished(() => next.close())
    const { agentDir } = next
    mkdirSync(agentDir, { recursive: true })
    const given: Dying = {
      agentDir,
      spoolId,
      shell,
      home: opened.server.home,
      settings: opened.settings(),
      programs: programs.map(({ until: _until, ...one }) => one),
    }
    const dying = spawn(
      process.execPath,
      [join(import.meta.dirname, 'dying-ssh-agent.ts'), JSON.stringify(given)],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    )
    const read = (name: string): Buffer => {
      const path = join(agentDir, name)
      return existsSync(path) ? readFileSync(path) : Buffer.alloc(0)
    }
    await until('all have printed', () => programs.every((one, n) => read(`stdout-${n}`).length >= one.until))
    dying.kill('SIGKILL')
    await once(dying, 'exit')
    const left = programs.map((_one, n) => ({
      ...(JSON.parse(read(`started-${n}`).toString()) as { assignment: Assignment; kept: unknown }),
      stored: { stdout: read(`stdout-${n}`), stderr: read(`stderr-${n}`) },
    }))
    return { next, left }
  }

  test('are gone on with to the byte, and nothing is left of them or of others (CR-15)', async () => {
    const lines = 6_000
    const { next, left } = await killed([
      {
        ...program(
          `for i in $(seq 1 ${lines}); do echo "line $i"; [ $((i % 300)) = 0 ] && sleep 0.2; done; echo err >&2; exit 3`,
        ),
        until: 5_000,
      },
      { ...program('echo begun; sleep 0.5; echo ended; exit 7'), until: 6 },
      { ...program(forEver('begun'), { timeout_sec: 1 }), until: 6 },
      { ...program(forEver('begun')), until: 6 },
      { ...program(forEver('dropped')), until: 8 },
      { ...program(forEver('left')), until: 5 },
    ])
    const [numbers, ended, overdue, canceled, dropped] = left as [Left, Left, Left, Left, Left]
    const { backend } = next
    const way = await startLink(opened.server.port)
    onTestFinished(() => way.close())
    const throughLink = (assignment: Assignment): Assignment => ({
      ...assignment,
      executor: { ...assignment.executor, settings: { ...opened.settings({ port: way.port }) } },
    })

    const { promise: noAnswer, reject: answer } = Promise.withResolvers<Assignment>()
    const neverAnswered = driveAdoption({
      backend,
      ...dropped,
      again: () => noAnswer,
    })
    const isCanceled = driveAdoption({ backend, ...canceled, begin: (stop) => stop('canceled') })
    let cuts = 0
    const goesOn = driveAdoption({
      backend,
      ...numbers,
      again: () => Promise.resolve(throughLink(numbers.assignment)),
      watch(_stream, bytes) {
        if (cuts > 0 || bytes.length < 20_000) return
        cuts += 1
        way.cut()
        setTimeout(() => way.restore(), 100)
      },
    })
    const hasEnded = driveAdoption({ backend, ...ended })
    const isOverdue = driveAdoption({ backend, ...overdue })
    const neverBegun = driveAdoption({
      backend,
      ...ended,
      stored: { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) },
      kept: { ...(ended.kept as object), name: 'none', dir: join('/home/errand/.errand/runs/none') },
    })

    await expect(neverBegun).rejects.toThrow(Lost)
    expect((await isCanceled).outcome).toBe('canceled')
    expect(await isOverdue).toMatchObject({ outcome: 'timed_out', end: { killed_for: 'wall_time' } })
    const after = await hasEnded
    expect(after).toMatchObject({ outcome: 'failed', end: { exit_code: 7, phase: 'run' } })
    expect(after.stdout.toString()).toBe('begun\nended\n')
    const { outcome, end, stdout, stderr } = await goesOn
    expect(cuts).toBe(1)
    expect({ outcome, exit_code: end.exit_code }).toEqual({ outcome: 'failed', exit_code: 3 })
    expect(stdout.toString()).toBe(Array.from({ length: lines }, (_line, n) => `line ${n + 1}\n`).join(''))
    expect(stderr.toString()).toBe('err\n')
    expect(end).toMatchObject({
      hostname: '127.0.0.1',
      runtime_id: expect.stringMatching(/^bash/) as string,
      isolation: { sandbox: shell ? 'remote_shell' : 'remote' },
    })

    // One that waits for the API goes on; all that nobody goes on with has been ended.
    expect(opened.leftovers()).toEqual([(dropped.kept as { name: string }).name])
    answer(new Lost('another has it by now'))
    await expect(neverAnswered).rejects.toThrow('another has it by now')
    // As a retry would, on the same target.
    await drive({ backend, settings: { ...opened.settings() }, submission: program('echo again') })
  })

  test('are lost where the target has died meanwhile, and go on where its sshd has (CR-37)', async () => {
    const { next, left } = await killed([
      { ...program('echo begun; sleep 1; echo ended'), until: 6 },
      { ...program(forEver('begun')), until: 6 },
    ])
    const [goesOn, dies] = left as [Left, Left]
    const { backend } = next
    await opened.server.kill()
    const early = driveAdoption({ backend, ...goesOn })
    await sleep(300)
    await opened.server.start()
    expect((await early).stdout.toString()).toBe('begun\nended\n')
    await opened.server.crash()
    await opened.server.start()
    await expect(driveAdoption({ backend, ...dies })).rejects.toThrow(Lost)
    await drive({ backend, settings: { ...opened.settings() }, submission: program('true') })
  })
})
