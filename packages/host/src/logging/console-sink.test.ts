import { once } from 'node:events'
import { PassThrough, Writable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { ConsoleSink } from './console-sink.ts'

const line = (msg: string): string =>
  `${JSON.stringify({ level: 30, time: 0, name: 'main', msg, job_id: 'j' })}\n`

describe('ConsoleSink', () => {
  test('writes one readable line', () => {
    expect(printed(false, {}, 'started')).toMatch(
      /^\[[-\d]+ [\d:.]+\] INFO \(main\): started {"job_id":"j"}\n$/,
    )
  })

  test.each([
    { tty: true, env: {}, colors: true },
    { tty: true, env: { NO_COLOR: '1' }, colors: false },
    { tty: false, env: { FORCE_COLOR: '1' }, colors: false },
  ])('has colors: $colors on a TTY: $tty with $env', ({ tty, env, colors }) => {
    expect(printed(tty, env, 'x').includes('\x1b[')).toBe(colors)
  })

  test('shows line breaks of a message instead of obeying them', () => {
    expect(printed(false, {}, 'a\r\n[now] ERROR (main): forged').split('\n')).toHaveLength(2)
  })

  test('drops what a slow reader leaves, and says how much', async () => {
    const taken: Buffer[] = []
    let takeMore: (() => void) | undefined
    const console = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        taken.push(chunk)
        if (takeMore === undefined) takeMore = done
        else done()
      },
    })
    const sink = new ConsoleSink(console, {})
    const long = line('x'.repeat(64 * 1024))
    for (let count = 0; count < 100; count += 1) sink.write(long)
    expect(console.writableLength).toBeLessThan(2 * 1024 * 1024)

    const drained = once(console, 'drain')
    takeMore?.()
    await drained
    const dropped = 100 - taken.length
    sink.write(line('later'))
    expect(taken.slice(-2).join('')).toMatch(new RegExp(`^\\(${dropped} log lines were dropped.*\n.*later`))
  })

  test('outlives its reader', async () => {
    const console = new PassThrough()
    const sink = new ConsoleSink(console, {})
    console.destroy(new Error('EPIPE'))
    await new Promise(setImmediate)
    sink.write(line('x'))
    sink.report('x')
    expect(console.destroyed).toBe(true)
  })
})

function printed(isTTY: boolean, env: NodeJS.ProcessEnv, msg: string): string {
  const console = Object.assign(new PassThrough(), { isTTY })
  new ConsoleSink(console, env).write(line(msg))
  return String(console.read())
}
