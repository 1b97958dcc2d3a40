import { createHash } from 'node:crypto'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { Output } from './output.ts'

function open(capBytes: number, spool?: () => void, flushEveryMs = 10) {
  const pieces: { stream: string; offset: number; bytes: Buffer }[] = []
  const failures: unknown[] = []
  const limits: string[] = []
  const output = new Output({
    capBytes,
    flushEveryMs,
    spool: (stream, offset, bytes) => {
      spool?.()
      pieces.push({ stream, offset, bytes: Buffer.from(bytes) })
    },
    onSpoolFailure: (error) => failures.push(error),
  })
  output.onLimit = (stream) => limits.push(stream)
  const stored = (stream: string) =>
    Buffer.concat(pieces.filter((one) => one.stream === stream).map((one) => one.bytes))
  return { output, pieces, failures, limits, stored }
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

describe('Output', () => {
  it.each([
    [99, false],
    [100, false],
    [101, true],
    [5_000, true],
  ])('with a cap of 100 bytes and %i written: truncated is %s', (written, truncated) => {
    const { output, limits, stored } = open(100)
    const bytes = Buffer.alloc(written, 'abc')
    for (let start = 0; start < written; start += 7) output.write('stdout', bytes.subarray(start, start + 7))
    const { stdout, stderr } = output.end()
    const prefix = bytes.subarray(0, 100)
    expect(stdout).toEqual({
      bytes: written,
      stored: prefix.length,
      truncated,
      sha256: sha256(prefix),
    })
    expect(stored('stdout').equals(prefix)).toBe(true)
    expect(stderr).toEqual({ bytes: 0, stored: 0, truncated: false, sha256: sha256(Buffer.alloc(0)) })
    expect(limits).toEqual(truncated ? ['stdout'] : [])
  })

  it('has a cap for each stream', () => {
    const { output, limits } = open(10)
    output.write('stdout', Buffer.alloc(10))
    output.write('stderr', Buffer.alloc(11))
    expect(limits).toEqual(['stderr'])
    expect(output.end()).toMatchObject({ stdout: { truncated: false }, stderr: { stored: 10, bytes: 11 } })
  })

  it('keeps every byte value, in pieces of at most 64 KiB', () => {
    const { output, pieces, stored } = open(10_000_000)
    const bytes = Buffer.from(Array.from({ length: 256 * 1024 }, (_, index) => index % 256))
    output.write('stdout', bytes)
    output.write('stdout', bytes.subarray(0, 5))
    output.end()
    expect(stored('stdout').equals(Buffer.concat([bytes, bytes.subarray(0, 5)]))).toBe(true)
    expect(pieces.every((one) => one.bytes.length <= 65_536)).toBe(true)
  })

  it('gathers small writes for a while, and spools them without being ended', async () => {
    const { output, pieces } = open(1_000)
    for (const byte of 'hello') output.write('stdout', Buffer.from(byte))
    expect(pieces).toEqual([])
    await vi.waitFor(() => expect(pieces.map((one) => one.bytes.toString())).toEqual(['hello']))
    output.end()
  })

  it('RA-15: makes at most ten small pieces a second of a stream that is written byte by byte', () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const { output, pieces } = open(100_000, undefined, 50)
    for (let ms = 0; ms < 2_000; ms++) {
      output.write('stdout', Buffer.from('o'))
      output.write('stderr', Buffer.from('e'))
      vi.advanceTimersByTime(1)
    }
    for (const stream of ['stdout', 'stderr']) {
      const count = pieces.filter((one) => one.stream === stream).length
      expect(count).toBeGreaterThanOrEqual(19)
      expect(count).toBeLessThanOrEqual(20)
    }
    // The first after a rest does not wait so long.
    vi.advanceTimersByTime(1_000)
    pieces.length = 0
    output.write('stdout', Buffer.from('x'))
    vi.advanceTimersByTime(50)
    expect(pieces).toHaveLength(1)
    output.end()
  })

  it('keeps the prefix exact and the counts true when the spool is full', () => {
    let full = false
    const { output, failures, stored, limits } = open(1_000_000, () => {
      if (full) throw new Error('disk full')
    })
    output.write('stdout', Buffer.alloc(65_536, 'a'))
    full = true
    output.write('stdout', Buffer.alloc(65_536, 'b'))
    full = false
    output.write('stdout', Buffer.alloc(65_536, 'c'))
    const { stdout } = output.end()
    expect(stdout).toEqual({
      bytes: 3 * 65_536,
      stored: 65_536,
      truncated: true,
      sha256: sha256(Buffer.alloc(65_536, 'a')),
    })
    expect(stored('stdout').length).toBe(65_536)
    expect(failures).toHaveLength(1)
    expect(limits).toEqual([])
  })
})
