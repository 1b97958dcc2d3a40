import { constants } from 'node:os'
import { encodeBundle, stationAnswers } from '@errand/box'
import type { BundlePhase, Frame, StationAnswer } from '@errand/box'
import { describe, expect, it } from 'vitest'
import { Lost } from '../backend.ts'
import { RemoteBox } from './remote-box.ts'
import type { RemoteTarget } from './remote-target.ts'
import { SshFailure } from './ssh-failure.ts'
import type { Station, StationListener } from './station.ts'

/** What a target does on one request; undefined: nothing. */
type Reply = ((listener: StationListener) => void) | undefined

const question: BundlePhase = {
  kind: 'question',
  argv: ['true'],
  env: {},
  limitMs: 1_000,
  capBytes: 1,
  killAtCap: false,
  goOn: true,
}
const frame = (letter: string, body: readonly number[]): Buffer =>
  Buffer.from([letter.charCodeAt(0), body.length, 0, 0, 0, ...body])
const answers =
  (answer: StationAnswer, errno = 0): Reply =>
  (listener) =>
    listener.data(frame('Q', [stationAnswers.indexOf(answer), errno, 0, 0, 0]))
const cut: Reply = (listener) => listener.closed()
const begins: Reply = (listener) => listener.data(frame('S', [2, 0]))
const ends: Reply = (listener) => {
  listener.data(frame('X', [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))
  listener.data(frame('E', [2, 0, ...Array.from({ length: 42 }, () => 0)]))
  listener.data(frame('Z', []))
  answers('passed_on')!(listener)
}

const runs: Reply = (listener) => {
  begins(listener)
  ends(listener)
}

/** A box on a target that answers requests so, one after the other, over as many stations as that takes. */
function boxOn(
  replies: readonly Reply[],
  given: { phase?: Partial<BundlePhase>; exitCode?: number; fault?: Error; lookForMs?: number } = {},
) {
  const asked: string[] = []
  const abandoned: string[] = []
  const stations: StationListener[] = []
  const done = { kills: 0, distrusts: 0 }
  const prepared = { again: 0 }
  const waiting = [...replies]
  const station = (): Station => {
    let listener: StationListener
    const ask = (letter: string): void => {
      asked.push(letter)
      setImmediate(() => waiting.shift()?.(listener))
    }
    const fake: Partial<Station> = {
      greeted: given.exitCode === undefined,
      exitCode: given.exitCode ?? null,
      complaint: '',
      closed: false,
      listen(to) {
        listener = to
        stations.push(to)
      },
      rest() {},
      begin: () => ask('N'),
      follow: () => ask('F'),
      remove: () => ask('D'),
      kill() {},
      close: () => listener.closed(),
    }
    return fake as Station
  }
  const remote: Partial<RemoteTarget> = {
    description: 'a target',
    station: () => (given.fault ? Promise.reject(given.fault) : Promise.resolve(station())),
    handBack() {},
    missesPlace: () => void (prepared.again += 1),
    abandon: (name) => void abandoned.push(name),
    distrust() {
      done.distrusts += 1
      stations.at(-1)!.closed()
    },
    kill() {
      done.kills += 1
      return Promise.resolve('unknown')
    },
  }
  const box = new RemoteBox({
    remote: remote as RemoteTarget,
    start: given.lookForMs === undefined ? { station: station() } : { lookForMs: given.lookForMs },
    name: 'a',
    dir: '/runs/a',
    phases: [{ ...question, ...given.phase }],
    encode: encodeBundle,
    random: () => 0,
  })
  const frames: Frame[] = []
  const ended = new Promise<Error | undefined>((resolve) => {
    box.listen({
      frame(one) {
        frames.push(one)
        if (one.type === 'done') resolve(undefined)
      },
      ending() {},
      closed: resolve,
    })
  })
  if (given.lookForMs === undefined) box.send(Buffer.from('bundle'))
  else box.follow()
  return { asked, abandoned, done, prepared, frames, ended, gone: box.gone }
}

describe('a box whose bundle may be on its way still', () => {
  it('begins again, and leaves the directory for the other bundle to find', async () => {
    const { asked, abandoned, ended, gone } = boxOn([cut, answers('no_such_run', 2), runs])
    expect(await ended).toBeUndefined()
    await gone
    expect(asked).toEqual(['N', 'F', 'N'])
    expect(abandoned).toEqual([])
  })

  it('follows the run when that came first', async () => {
    const began = answers('not_begun', constants.errno.EEXIST)
    const { asked, ended } = boxOn([cut, answers('no_such_run', 2), began, runs])
    expect(await ended).toBeUndefined()
    expect(asked).toEqual(['N', 'F', 'N', 'F'])
  })

  it.each([
    ['cannot begin', [answers('not_begun', constants.errno.EACCES)]],
    ['is unknown twice', [cut, answers('no_such_run', 2), cut, answers('no_such_run', 2)]],
  ])('that %s leaves what there may be to the next sweep', async (_, replies) => {
    const { abandoned, ended } = boxOn(replies)
    expect(await ended).toBeInstanceOf(Error)
    expect(abandoned).toEqual(['a'])
  })
})

it('a box that has begun once has its directory removed', async () => {
  const { asked, ended, gone } = boxOn([runs, answers('removed')])
  expect(await ended).toBeUndefined()
  await gone
  expect(asked).toEqual(['N', 'D'])
})

describe('a run that an earlier process began', () => {
  const lookForMs = 1_000

  it('is followed from its beginning, also when the link breaks at once, and its directory removed', async () => {
    const { asked, frames, ended, gone } = boxOn([cut, runs, answers('removed')], { lookForMs })
    expect(await ended).toBeUndefined()
    await gone
    expect(asked).toEqual(['F', 'F', 'D'])
    expect(frames.map(({ type }) => type)).toEqual(['started', 'exited', 'ended', 'done'])
  })

  it('is lost, and begun by nobody, where the target knows nothing of it', async () => {
    const { asked, abandoned, ended } = boxOn([answers('no_such_run', 2)], { lookForMs })
    expect(await ended).toBeInstanceOf(Lost)
    expect([asked, abandoned]).toEqual([['F'], ['a']])
  })

  it('is lost at once where there is no use in coming back', async () => {
    const fault = new SshFailure('host_key_mismatch', 'another host key')
    const { asked, abandoned, ended } = boxOn([], { lookForMs, fault })
    expect(await ended).toMatchObject({ name: 'Lost', message: expect.stringContaining('another host key') })
    expect([asked, abandoned]).toEqual([[], ['a']])
  })
})

it('a journal that cannot be read ends the run, and is not read again', async () => {
  const { asked, abandoned, ended, gone } = boxOn([(listener) => listener.data(frame('X', [2, 0])), runs])
  expect(await ended).toBeInstanceOf(Lost)
  await gone
  expect(asked).toEqual(['N'])
  expect(abandoned).toContain('a')
})

describe('a run whose time is up', () => {
  const phase = { limitMs: 0 }

  it('is lost 5 s later when its target is there and says nothing', async () => {
    const began = performance.now()
    const { abandoned, done, ended, gone } = boxOn([begins], { phase })
    expect(await ended).toBeInstanceOf(Lost)
    await gone
    expect(performance.now() - began).toBeGreaterThan(4_900)
    expect(done).toEqual({ kills: 1, distrusts: 1 })
    expect(abandoned).toContain('a')
  }, 10_000)

  it('is not ended by other means while its output comes', async () => {
    const drips: Reply = (listener) => {
      begins(listener)
      let left = 5
      const dripping = setInterval(() => {
        if (left-- > 0) return listener.data(frame('o', [65]))
        clearInterval(dripping)
        ends(listener)
      }, 300)
    }
    const { done, ended } = boxOn([drips, answers('removed')], { phase })
    expect(await ended).toBeUndefined()
    expect(done).toEqual({ kills: 0, distrusts: 0 })
  })
})

describe('a target whose ~/.errand is gone', () => {
  const noRuns = answers('not_begun', constants.errno.ENOENT)

  it('is prepared again for the run', async () => {
    const { asked, prepared, ended, gone } = boxOn([noRuns, runs, answers('removed')])
    expect(await ended).toBeUndefined()
    await gone
    expect(asked).toEqual(['N', 'N', 'D'])
    expect(prepared.again).toBe(1)
  })

  it.each([
    ['cannot begin', [noRuns, noRuns], undefined],
    ['has no box', [cut, cut], 127],
  ])('and that %s all the same is our failure', async (_, replies, exitCode) => {
    const { asked, prepared, ended } = boxOn(replies, { ...(exitCode !== undefined && { exitCode }) })
    const error = await ended
    expect(error).toBeInstanceOf(Error)
    expect(error).not.toBeInstanceOf(Lost)
    expect(asked).toEqual(['N', 'N'])
    expect(prepared.again).toBe(1)
  })
})

it('a run that nothing is heard of is asked for with pauses', async () => {
  const { asked, ended } = boxOn(
    Array.from({ length: 1_000 }, () => cut),
    { phase: { limitMs: 0 } },
  )
  expect(await ended).toBeInstanceOf(Lost)
  expect(asked.length).toBeLessThan(20)
}, 20_000)

it.each([
  ['began nothing', [answers('passed_on', constants.errno.ENOSPC)], false],
  ['began its program', [begins, answers('passed_on', constants.errno.ENOSPC)], true],
])('a box that found the disk full and %s says so', async (_, replies, lost) => {
  const [first, second] = replies
  const { ended } = boxOn([
    (listener) => {
      first?.(listener)
      second?.(listener)
    },
    answers('removed'),
  ])
  const error = await ended
  expect(error?.message).toContain('disk is full')
  expect(error instanceof Lost).toBe(lost)
})

it('a fault of ours on the way back ends the run', async () => {
  const { abandoned, ended, gone } = boxOn([cut], { fault: new Error('ours') })
  expect(await ended).toEqual(new Error('ours'))
  await gone
  expect(abandoned).toEqual(['a'])
})
