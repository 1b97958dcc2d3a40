import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  rmdirSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { boxBinary } from './binary.ts'
import { encodeBundle, killMessage } from './bundle.ts'
import type { BundlePhase } from './bundle.ts'
import { FrameReader } from './frames.ts'
import type { Frame } from './frames.ts'
import { beginRequest, followRequest, removeRequest, stationGreeting } from './station.ts'
import { asRoot, phaseOf } from './testing/open-box.ts'

const box = boxBinary()
let runs: string
beforeEach(() => {
  runs = mkdtempSync(join(tmpdir(), 'errand-runs-'))
})
afterEach(nothingIsLeft)

function nothingIsLeft(): void {
  expect(readdirSync(runs)).toEqual([])
  rmSync(runs, { recursive: true })
}

/** A station and what it says; its input ends with the test. */
function openStation() {
  const child = spawn(box, ['station'], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  child.stdin.on('error', () => {})
  let rest = Buffer.alloc(0)
  let greeted = false
  let frames: Frame[] = []
  let read = 0
  const waiting = new Set<() => void>()
  const reader = new FrameReader((frame) => {
    frames.push(frame)
    if (frame.type !== 'answered') read = reader.consumed
  })
  child.stdout.on('data', (bytes: Buffer) => {
    rest = Buffer.concat([rest, bytes])
    if (!greeted) {
      if (rest.length < stationGreeting.length) return
      if (!rest.subarray(0, stationGreeting.length).equals(stationGreeting)) throw new Error('no greeting')
      rest = rest.subarray(stationGreeting.length)
      greeted = true
    }
    reader.write(rest)
    rest = Buffer.alloc(0)
    for (const wake of waiting) wake()
    waiting.clear()
  })
  const until = async (isIt: (frames: Frame[]) => boolean): Promise<Frame[]> => {
    while (!isIt(frames)) await new Promise<void>((resolve) => waiting.add(resolve))
    return frames
  }
  return {
    child,
    until,
    /** Of frames, before the answer. */
    bytesRead: () => read,
    async ask(request: Uint8Array): Promise<Frame[]> {
      frames = []
      child.stdin.write(request)
      return until((all) => all.at(-1)?.type === 'answered')
    },
  }
}

function beginning(dir: string, code: string, phase: Partial<BundlePhase> = {}, mostMs = 60_000): Buffer {
  const bundle = encodeBundle({
    workDir: { path: join(dir, 'work'), make: true },
    tmpDir: join(dir, 'tmp'),
    files: [{ path: 'main.sh', content: code }],
    stdin: '',
    phases: [phaseOf({ argv: ['/bin/sh', 'main.sh'], ...phase })],
  })
  return Buffer.concat([beginRequest(dir, mostMs), bundle])
}

const printed = (frames: Frame[]): string =>
  Buffer.concat(frames.flatMap((one) => (one.type === 'output' ? [one.bytes] : []))).toString()
const exitOf = (frames: Frame[]) => frames.find((one) => one.type === 'exited')
const ps = (...args: string[]): string => execFileSync('ps', args, { encoding: 'utf8' })
const keeperOf = (dir: string): string => readFileSync(join(dir, 'state'), 'utf8').split(' ')[0]!
const removed = [{ type: 'answered', answer: 'removed', errno: expect.any(Number) as number }]

describe('a station', () => {
  it('serves one run after the other, each in a directory that is its own', async () => {
    const station = openStation()
    for (const name of ['a', 'b', 'c']) {
      const dir = join(runs, name)
      const frames = await station.ask(beginning(dir, `echo ${name}; exit 3`))
      expect(printed(frames)).toBe(`${name}\n`)
      expect(exitOf(frames)).toMatchObject({ exitCode: 3 })
      expect(frames.slice(-2)).toMatchObject([{ type: 'done' }, { answer: 'passed_on' }])
      expect(statSync(dir).mode & 0o777).toBe(0o700)
      expect(readdirSync(dir).toSorted()).toEqual(['control', 'journal', 'state'])
      for (const file of ['journal', 'state']) expect(statSync(join(dir, file)).mode & 0o777).toBe(0o600)
      expect(await station.ask(removeRequest)).toEqual(removed)
    }
  })

  it('passes kills on, and over those that come late', async () => {
    const station = openStation()
    const answered = station.ask(beginning(join(runs, 'a'), 'echo begun; sleep 300'))
    await station.until((frames) => printed(frames) === 'begun\n')
    station.child.stdin.write(killMessage)
    expect(exitOf(await answered)).toMatchObject({ signal: 'SIGKILL', killed: 'asked' })
    expect(await station.ask(Buffer.concat([killMessage, removeRequest]))).toEqual(removed)
  })

  it('begins a run of a name once', async () => {
    const station = openStation()
    const dir = join(runs, 'a')
    await station.ask(beginning(dir, 'echo first'))
    const again = await openStation().ask(beginning(dir, 'echo second'))
    expect(again).toMatchObject([{ type: 'answered', answer: 'not_begun', errno: 17 }])
    expect(await station.ask(removeRequest)).toEqual(removed)
  })

  it('begins nothing of a bundle that is cut', async () => {
    const station = openStation()
    station.child.stdin.end(beginning(join(runs, 'a'), `touch ${join(runs, 'never')}`).subarray(0, -1))
    await once(station.child, 'exit')
    expect(readdirSync(runs)).toEqual([])
  })

  it('knows when there is no such run', async () => {
    const answered = await openStation().ask(followRequest(join(runs, 'none'), 0))
    expect(answered).toMatchObject([{ answer: 'no_such_run', errno: 2 }])
  })
})

it.runIf(asRoot)('a run whose journal finds no room ends, and the station says why', async () => {
  const disk = join(runs, 'disk')
  mkdirSync(disk)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', disk])
  const station = openStation()
  const frames = await station.ask(beginning(join(disk, 'a'), 'while :; do echo line; done'))
  expect(frames.at(-1)).toMatchObject({ answer: 'passed_on', errno: 28 })
  expect(frames.map(({ type }) => type)).not.toContain('done')
  expect(await station.ask(removeRequest)).toEqual(removed)
  unmount(disk)
  rmdirSync(disk)
})

it.runIf(asRoot).each([
  ['state', 0],
  ['first frame', 4_096],
])('a run starts nothing where its %s finds no room', async (_, bytesFree) => {
  const disk = join(runs, 'disk')
  mkdirSync(disk)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8k', 'tmpfs', disk])
  writeFileSync(join(disk, 'full'), Buffer.alloc(8_192 - bytesFree))
  const dir = join(disk, 'a')
  const bundle = encodeBundle({
    workDir: { path: join(dir, 'work'), make: true },
    tmpDir: join(dir, 'tmp'),
    files: [],
    stdin: '',
    phases: [phaseOf({ argv: ['/bin/touch', join(disk, 'started')] })],
  })
  const frames = await openStation().ask(Buffer.concat([beginRequest(dir, 60_000), bundle]))
  const started = existsSync(join(disk, 'started'))
  unmount(disk)
  rmdirSync(disk)
  expect(frames).toEqual([{ type: 'answered', answer: 'passed_on', errno: 28 }])
  expect(started).toBe(false)
})

/** Also while what served the run is still ending there. */
function unmount(disk: string): void {
  execFileSync('umount', ['--lazy', disk])
}

describe('a run whose station is gone', () => {
  it('goes on, and is read on from where that was, to the byte', async () => {
    const dir = join(runs, 'a')
    const first = openStation()
    const code = 'for n in 1 2 3 4 5 6 7 8; do echo "line $n"; sleep 0.1; done; echo err >&2; exit 7'
    void first.ask(beginning(dir, code))
    const before = printed(await first.until((frames) => printed(frames).includes('line 2')))
    const at = first.bytesRead()
    first.child.kill('SIGKILL')
    const second = openStation()
    const frames = await second.ask(followRequest(dir, at))
    expect(before + printed(frames)).toBe(
      'line 1\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\nerr\n',
    )
    expect(exitOf(frames)).toMatchObject({ exitCode: 7 })
    // Once more, after its end: all of it.
    expect(printed(await second.ask(followRequest(dir, 0)))).toContain('line 1\nline 2')
    expect(await second.ask(removeRequest)).toEqual(removed)
  })

  it('is ended at its time by its box, and at last by its keeper', async () => {
    const first = openStation()
    void first.ask(beginning(join(runs, 'a'), 'echo begun; sleep 300', { limitMs: 2_000 }))
    await first.until((frames) => printed(frames) === 'begun\n')
    first.child.kill('SIGKILL')
    const second = openStation()
    const frames = await second.ask(followRequest(join(runs, 'a'), 0))
    expect(exitOf(frames)).toMatchObject({ killed: 'deadline' })
    expect(await second.ask(removeRequest)).toEqual(removed)
    // Its box does not end it.
    const keeper = await second.ask(beginning(join(runs, 'b'), 'kill -STOP $PPID; sleep 300', {}, 500))
    expect(keeper.map(({ type }) => type)).toEqual(['started', 'answered'])
    expect(await second.ask(removeRequest)).toEqual(removed)
  })

  it('takes kills from the next station', async () => {
    const first = openStation()
    void first.ask(beginning(join(runs, 'a'), 'echo begun; sleep 300'))
    await first.until((frames) => printed(frames) === 'begun\n')
    first.child.kill('SIGKILL')
    const second = openStation()
    const frames = await second.ask(Buffer.concat([followRequest(join(runs, 'a'), 0), killMessage]))
    expect(exitOf(frames)).toMatchObject({ killed: 'asked' })
    expect(await second.ask(removeRequest)).toEqual(removed)
  })
})

describe('box kill', () => {
  it.each([
    ['does what it is asked to', 'sleep 300', 'S'],
    ['is stopped', 'sleep 0.2; kill -STOP $PPID; sleep 300', 'T'],
  ])('ends a run whose box %s, with all that it has started', async (_, code, state) => {
    const dir = join(runs, 'a')
    const station = openStation()
    const mark = crypto.randomUUID()
    const answered = station.ask(
      beginning(dir, `(setsid sh -c "sleep 300; : ${mark}" &); echo begun; ${code}`),
    )
    await station.until((frames) => printed(frames) === 'begun\n')
    const isSo = (): boolean => ps('-o', 'stat=', '--ppid', keeperOf(dir)).startsWith(state)
    await vi.waitFor(() => expect(isSo()).toBe(true), 10_000)
    execFileSync(box, ['kill', dir])
    expect(exitOf(await answered)).toMatchObject({ signal: 'SIGKILL', killed: 'asked' })
    expect(ps('-eo', 'args')).not.toContain(mark)
    expect(await station.ask(removeRequest)).toEqual(removed)
  })

  it('ends a run whose keeper is stopped too', async () => {
    const dir = join(runs, 'a')
    const station = openStation()
    const answered = station.ask(beginning(dir, 'echo begun; sleep 300'))
    await station.until((frames) => printed(frames) === 'begun\n')
    process.kill(Number(keeperOf(dir)), 'SIGSTOP')
    execFileSync(box, ['kill', dir])
    expect((await answered).at(-1)).toMatchObject({ answer: 'passed_on' })
    expect(await station.ask(removeRequest)).toEqual(removed)
  })

  it('touches nobody whose number is in a state file that is not its own', async () => {
    const dir = join(runs, 'a')
    mkdirSync(dir)
    const other = spawn('sleep', ['300'])
    onTestFinished(() => void other.kill('SIGKILL'))
    writeFileSync(join(dir, 'state'), `${other.pid} 1 1000\n`)
    execFileSync(box, ['kill', dir])
    expect(other.exitCode ?? other.signalCode).toBeNull()
    rmSync(dir, { recursive: true })
  })

  it('says when there is no such run', () => {
    expect(() => execFileSync(box, ['kill', join(runs, 'none')])).toThrow(
      expect.objectContaining({ status: 3 }),
    )
  })
})

describe('box sweep', () => {
  it('ends and removes runs of earlier sessions, those that are named, and old ones of anybody', async () => {
    const old = new Date(Date.now() - 7_200_000)
    const stays = ['me-now-a', 'other-x-new', 'meandyou-x-a']
    for (const name of [...stays, 'me-now-named', 'me-old-a']) mkdirSync(join(runs, name))
    for (const name of ['other-x-old', 'me-now-old']) {
      mkdirSync(join(runs, name))
      utimesSync(join(runs, name), old, old)
    }
    const station = openStation()
    const lives = station.ask(beginning(join(runs, 'me-old-lives'), 'echo begun; sleep 300'))
    await station.until((frames) => printed(frames) === 'begun\n')
    execFileSync(box, ['sweep', runs, 'me', 'now', 'me-now-named', 'me-now-none'])
    expect(exitOf(await lives)).toMatchObject({ killed: 'asked' })
    expect(readdirSync(runs).toSorted()).toEqual(stays.toSorted())
    for (const name of stays) rmSync(join(runs, name), { recursive: true })
  })

  it('lets a run of anybody else live, however old', async () => {
    const station = openStation()
    const dir = join(runs, 'other-x-a')
    const answered = station.ask(beginning(dir, 'echo begun; sleep 300'))
    await station.until((frames) => printed(frames) === 'begun\n')
    const old = new Date(Date.now() - 7_200_000)
    utimesSync(dir, old, old)
    execFileSync(box, ['sweep', runs, 'me', 'now'])
    station.child.stdin.write(killMessage)
    expect(exitOf(await answered)).toMatchObject({ killed: 'asked' })
    expect(await station.ask(removeRequest)).toEqual(removed)
  })

  it('follows no link', () => {
    const outside = mkdtempSync(join(tmpdir(), 'errand-outside-'))
    onTestFinished(() => rmSync(outside, { recursive: true }))
    writeFileSync(join(outside, 'file'), '')
    symlinkSync(outside, join(runs, 'me-old-link'))
    mkdirSync(join(runs, 'me-old-a/deep/er'), { recursive: true })
    symlinkSync(outside, join(runs, 'me-old-a/deep/er/link'))
    symlinkSync(outside, join(runs, 'me-old-a/work'))
    execFileSync(box, ['sweep', runs, 'me', 'now'])
    expect(existsSync(join(outside, 'file'))).toBe(true)
  })

  it('does not say that all has ended where it could not look', () => {
    const file = join(runs, 'file')
    writeFileSync(file, '')
    const sweep = () => execFileSync(box, ['sweep', file, 'me', 'now'])
    expect(sweep).toThrow(expect.objectContaining({ status: 1 }))
    rmSync(file)
  })

  it('has nothing to do where nothing ever ran', () => {
    expect(() => execFileSync(box, ['sweep', join(runs, 'none'), 'me', 'now'])).not.toThrow()
  })
})

it('a box knows its own checksum', () => {
  const sum = createHash('sha256').update(readFileSync(box)).digest('hex')
  expect(execFileSync(box, ['sum'], { encoding: 'utf8' })).toBe(`${sum}\n`)
})
