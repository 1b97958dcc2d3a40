import type { Bundle, Frame } from '@errand/box'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { NotStarted, Rejected } from '../backend.ts'
import type { Run } from '../backend.ts'
import type { BoxListener } from './box-connection.ts'
import { adoptInBox, runInBox } from './run-in-box.ts'

const phase = { limitMs: 1_000, capBytes: 100, killAtCap: false, goOn: false, argv: ['x'], env: {} }
const bundle: Bundle = {
  workDir: { path: '/work', make: true },
  files: [],
  stdin: '',
  phases: [
    { ...phase, kind: 'compile' },
    { ...phase, kind: 'run' },
  ],
}
const ended = { stdoutBytes: 0, stderrBytes: 0, cpuMs: 1, peakMemoryBytes: 1, oomKills: 0 }
const exit = { exitCode: 0, signal: null, notExecuted: null, killed: null, ms: 1 }

/** A box that says what the test has it say. */
function open(by: typeof runInBox = runInBox) {
  const sent: string[] = []
  const begun: [phase: string, limitMs: number][] = []
  const stop = new AbortController()
  let listener!: BoxListener
  const run = {
    signal: stop.signal,
    starting: (kind, limitMs) => {
      if (stop.signal.aborted) throw new NotStarted('it is to end')
      begun.push([kind, limitMs])
    },
    exited: () => {},
    output: () => {},
    counted: () => {},
  } as Partial<Run> as Run
  const connection = {
    listen: (to: BoxListener) => void (listener = to),
    send: (bytes: Uint8Array) => void sent.push(bytes.length === 1 ? 'kill' : 'bundle'),
    kill: () => void sent.push('force'),
  }
  const end = by(run, connection, bundle)
  const say = (...frames: Frame[]): void => frames.forEach((frame) => listener.frame(frame))
  return { end, say, sent, stop, begun }
}

describe('runInBox', () => {
  test('ends a second phase that began although a kill was sent', async () => {
    const { end, say, sent, stop } = open()
    say({ type: 'started', phase: 'compile', index: 0 })
    say({ type: 'exited', phase: 'compile', index: 0, ...exit })
    // which the box reads, and passes over
    stop.abort('canceled')
    say({ type: 'ended', phase: 'compile', index: 0, ...ended })
    say({ type: 'started', phase: 'run', index: 1 })
    expect(sent).toEqual(['bundle', 'kill', 'kill'])
    say({
      type: 'exited',
      phase: 'run',
      index: 1,
      ...exit,
      exitCode: null,
      signal: 'SIGKILL',
      killed: 'asked',
    })
    say({ type: 'ended', phase: 'run', index: 1, ...ended }, { type: 'done' })
    await expect(end).rejects.toBeInstanceOf(NotStarted)
  })

  test('counts the time of the first phase from when the box has begun it', async () => {
    const { end, say, begun } = open()
    expect(begun).toEqual([['compile', expect.any(Number)]])
    expect(begun[0]![1]).toBeGreaterThan(60_000)
    say({ type: 'started', phase: 'compile', index: 0 })
    expect(begun[1]).toEqual(['compile', 1_000])
    say({ type: 'exited', phase: 'compile', index: 0, ...exit, exitCode: 1 })
    say({ type: 'ended', phase: 'compile', index: 0, ...ended }, { type: 'done' })
    expect(await end).toMatchObject({ phase: 'compile', exit_code: 1 })
  })

  test('refuses what the kernel finds too long', async () => {
    const { end, say } = open()
    say({ type: 'started', phase: 'compile', index: 0 })
    say({ type: 'exited', phase: 'compile', index: 0, ...exit, exitCode: null, notExecuted: 7 })
    say({ type: 'ended', phase: 'compile', index: 0, ...ended }, { type: 'done' })
    await expect(end).rejects.toBeInstanceOf(Rejected)
  })
})

describe('adoptInBox', () => {
  const adopting: typeof runInBox = (run, connection, { phases }) =>
    adoptInBox(run, connection, phases, 1_000)

  test('sends nothing, and hears all from the beginning', async () => {
    const { end, say, sent, begun } = open(adopting)
    expect([sent, begun]).toEqual([[], []])
    say({ type: 'started', phase: 'compile', index: 0 })
    say({ type: 'exited', phase: 'compile', index: 0, ...exit, exitCode: 1 })
    say({ type: 'ended', phase: 'compile', index: 0, ...ended }, { type: 'done' })
    expect(begun).toEqual([['compile', 1_000]])
    expect(await end).toMatchObject({ phase: 'compile', exit_code: 1 })
  })

  test('takes a box that says nothing, and goes on, for one that has begun', () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const { begun, sent, stop } = open(adopting)
    vi.advanceTimersByTime(1_000)
    expect(begun).toEqual([['compile', 1_000]])
    vi.advanceTimersByTime(3_600_000)
    expect(sent).toEqual([])
    stop.abort('canceled')
    expect(sent).toEqual(['kill'])
  })
})
