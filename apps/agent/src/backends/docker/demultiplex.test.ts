import { array, assert, constantFrom, integer, property, tuple, uint8Array } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BrokenStream, demultiplexer } from './demultiplex.ts'

function piece(stream: number, content: Uint8Array): Buffer {
  const head = Buffer.alloc(8)
  head[0] = stream
  head.writeUInt32BE(content.length, 4)
  return Buffer.concat([head, content])
}

function taken(chunks: Iterable<Buffer>): [string, string] {
  const streams: [Buffer[], Buffer[]] = [[], []]
  const take = demultiplexer(
    (bytes) => streams[0].push(bytes),
    (bytes) => streams[1].push(bytes),
  )
  for (const chunk of chunks) take(chunk)
  return [Buffer.concat(streams[0]).toString('hex'), Buffer.concat(streams[1]).toString('hex')]
}

describe('demultiplexer', () => {
  it('takes streams apart, however they are cut', () => {
    const pieces = array(tuple(constantFrom(1, 2), uint8Array({ maxLength: 40 })), { maxLength: 12 })
    assert(
      property(pieces, integer({ min: 1, max: 50 }), (all, size) => {
        const whole = Buffer.concat(all.map(([stream, content]) => piece(stream, content)))
        const chunks = Array.from({ length: Math.ceil(whole.length / size) }, (_, index) =>
          whole.subarray(index * size, (index + 1) * size),
        )
        const of = (wanted: number): string =>
          Buffer.concat(all.filter(([stream]) => stream === wanted).map(([, content]) => content)).toString(
            'hex',
          )
        expect(taken(chunks)).toEqual([of(1), of(2)])
      }),
    )
  })

  it('takes 100,000 pieces of one byte in one chunk', () => {
    const one = piece(1, Buffer.from('x'))
    const [stdout] = taken([Buffer.concat(Array.from({ length: 100_000 }, () => one))])
    expect(stdout.length).toBe(200_000)
  })

  it('refuses what is no multiplexed stream', () => {
    expect(() => taken([Buffer.from('a terminal says what it wants')])).toThrow(BrokenStream)
    expect(() => taken([piece(0, Buffer.from('x'))])).toThrow(BrokenStream)
  })
})
