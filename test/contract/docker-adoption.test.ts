import { dockerExecutor } from '@errand/shared'
import type { SubmissionBody } from '@errand/shared'
import { afterEach, beforeAll, expect, onTestFinished, test } from 'vitest'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { testImages } from '../../infra/test-images.ts'
import { Lost, NotStarted } from '../../apps/agent/src/backends/backend.ts'
import { drive, driveAdoption } from './drive.ts'
import type { Adopting } from './drive.ts'
import { startEngineProxy } from './engine-proxy.ts'
import { docker, leavesNothing, openDocker } from './open-docker.ts'
import type { OpenDocker } from './open-docker.ts'

type Program = Omit<SubmissionBody, 'executor'>
type Left = Pick<Adopting, 'assignment' | 'kept' | 'stored'> & { mark: string }

let socketPath: string
beforeAll(async () => void (socketPath = await testDockerEngine()), 180_000)

/** Marks of the agents of a test. */
let marks: string[] = []
afterEach(async () => {
  for (const mark of marks) {
    const last = await openDocker(socketPath, { mark })
    await leavesNothing(last)
    await last.close()
  }
  marks = []
})

/**
 * Starts it with an agent that dies, for the Engine, once the program has written `until`; or so many milliseconds after
 * it was started; or, without either, when it may start.
 */
async function left(program: Program, settings: object, until?: string | number): Promise<Left> {
  const proxy = await startEngineProxy(socketPath)
  const mark = crypto.randomUUID()
  marks.push(mark)
  const opened = await openDocker(socketPath, {
    mark,
    reachedBy: proxy.socketPath,
    time: { engineBackMs: 1 },
  })
  const stored = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }
  let started: Pick<Left, 'assignment' | 'kept'> | undefined
  const die = (): void => {
    proxy.close()
    proxy.cut()
  }
  const ended = drive({
    backend: opened.backend,
    settings: dockerExecutor.parse(settings),
    submission: program,
    starting(assignment, kept) {
      started ??= { assignment, kept }
      if (until === undefined) die()
      if (typeof until === 'number') setTimeout(die, until)
    },
    watch(stream, text) {
      // What is spooled of bytes that are no text is nothing: all of them come again.
      if (!text.includes('\ufffd')) stored[stream] = Buffer.from(text)
      if (typeof until === 'string' && text.includes(until)) die()
    },
  })
  await expect(ended).rejects.toThrow(Lost)
  await opened.backend.close()
  return { mark, ...started!, stored }
}

/** The next agent in its place. */
async function next({ mark, assignment }: Left): Promise<OpenDocker> {
  const opened = await openDocker(socketPath, { mark, adopted: [assignment] })
  onTestFinished(() => opened.close())
  return opened
}

async function adopted(given: Left, more: Partial<Adopting> = {}): ReturnType<typeof driveAdoption> {
  const { backend } = await next(given)
  return driveAdoption({ backend, ...given, ...more })
}

const python = { image: testImages.python }
const containers = (mark: string): string[] =>
  docker(socketPath, 'ps', '--all', '--quiet', '--no-trunc', `--filter=label=io.errand.agent=${mark}`)

test('goes on with a container that runs, to the byte', async () => {
  const program = {
    code: `
import sys, time
out, err = sys.stdout.buffer, sys.stderr.buffer
for n in range(40):
    out.write(bytes(range(256)) * n + b'%d' % n + b'\\n' * (n % 3)); out.flush()
    err.write(b'%d ' % n); err.flush()
    if n == 8: out.write(b'ready'); out.flush()
    time.sleep(0.05)
sys.exit(7)`,
  }
  const whole = Buffer.concat(
    Array.from({ length: 40 }, (_, n) => [
      ...Array.from({ length: n }, () => Buffer.from(Array.from({ length: 256 }, (_byte, at) => at))),
      Buffer.from(`${n}${'\n'.repeat(n % 3)}${n === 8 ? 'ready' : ''}`),
    ]).flat(),
  )
  const given = await left(program, python, 'ready')
  const [id] = containers(given.mark)
  const { end, outcome, stdout, stderr } = await adopted(given)
  expect([outcome, end.exit_code, end.phase]).toEqual(['failed', 7, 'run'])
  expect(stdout.equals(whole)).toBe(true)
  expect(stderr.toString()).toBe(Array.from({ length: 40 }, (_, n) => `${n} `).join(''))
  expect(end).toMatchObject({
    container_id: id,
    runtime_id: expect.stringMatching(/^python3/),
    isolation: { sandbox: 'container', cgroup: true },
    usage: { cpu_time_sec: expect.any(Number), peak_memory_mb: expect.any(Number) },
  })
})

test('reads how a container ended while there was no agent, and what its compiler said', async () => {
  const code = `
#include <stdio.h>
#include <unistd.h>
#warning careful
int main() { printf("ready"); fflush(stdout); usleep(300000); printf("unterminated"); return 3; }`
  const program = { runtime: 'c' as const, code }
  const given = await left(program, { image: testImages.runtimes }, 'ready')
  const [id] = containers(given.mark)
  docker(socketPath, 'wait', id!)
  const { end, stdout } = await adopted(given)
  expect(stdout.toString()).toBe('readyunterminated')
  expect(end).toMatchObject({ exit_code: 3, phase: 'run', compile: { exit_code: 0 } })
  expect(end.compile?.stderr).toContain('careful')
})

test('holds limits, and obeys, as ever', async () => {
  const sleeper = { code: 'print("ready", flush=True); import time; time.sleep(60)' }
  const stopped = await left(sleeper, python, 'ready')
  const canceled = await adopted(stopped, { begin: (stop) => void setTimeout(() => stop('canceled'), 300) })
  expect([canceled.outcome, canceled.stdout.toString()]).toEqual(['canceled', 'ready\n'])

  const short = { ...sleeper, timeout_sec: 1.5 }
  const timedOut = await adopted(await left(short, python, 'ready'))
  expect([timedOut.outcome, timedOut.end.killed_for]).toEqual(['timed_out', 'wall_time'])

  const flood = {
    code: 'print("ready", flush=True); import time; time.sleep(1)\nwhile True: print("x" * 1000)',
    limits: { output_limit_kb: 64 },
  }
  const flooded = await adopted(await left(flood, python, 'ready'))
  expect([flooded.outcome, flooded.stdout.length]).toEqual(['output_limit', 64 * 1024])
})

test('goes on with a program that has not said a word', async () => {
  const program = { code: 'import time; time.sleep(2); exit(5)' }
  const given = await left(program, python, 300)
  const { end } = await adopted(given)
  expect([end.exit_code, end.container_id]).toEqual([5, expect.any(String)])
})

test('knows what never began', async () => {
  const program = { code: 'print("hello")' }
  const given = await left(program, python)
  await expect(adopted(given)).rejects.toThrow(NotStarted)
})

test('has lost what is gone, or whose log no longer begins where it began', async () => {
  const program = { code: 'print("ready", flush=True); import time; time.sleep(60)' }
  const given = await left(program, python, 'ready')
  docker(socketPath, 'rm', '--force', ...containers(given.mark))
  await expect(adopted(given)).rejects.toThrow(Lost)

  // A byte a line takes so much room in its log that the beginning goes.
  const talker = {
    code: `
import os, time
for n in range(4000): os.write(1, b'\\n'); time.sleep(0.0005)
os.write(1, b'ready'); time.sleep(60)`,
    limits: { output_limit_kb: 4 },
  }
  const cut = await left(talker, python, 'ready')
  await expect(adopted(cut)).rejects.toThrow('has kept no beginning')
})

test('leaves what is to be adopted alone until it is, and removes all else', async () => {
  const sleeper = { code: 'print("ready", flush=True); import time; time.sleep(60)' }
  const given = await left(sleeper, python, 'ready')
  const mark = `--label=io.errand.agent=${given.mark}`
  docker(socketPath, 'create', '--network=none', mark, testImages.python, 'sleep', '60')
  expect(containers(given.mark)).toHaveLength(2)
  const second = await next(given)
  expect(second.leftovers()).toHaveLength(1)
  const dropped = driveAdoption({
    ...given,
    backend: second.backend,
    begin: (stop) => stop('lease_lost'),
  })
  await expect(dropped).rejects.toThrow('it was to end')
})
