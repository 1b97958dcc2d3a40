import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import { decodeFrame, encodeFrame, MalformedFrame } from './frame.ts'

it('gives back what was encoded, whatever the message and the bytes', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue()),
      fc.uint8Array(),
      (message, payload) => {
        const plain = JSON.parse(JSON.stringify(message))
        const decoded = decodeFrame(encodeFrame(plain, payload))
        expect(decoded.message).toEqual(plain)
        expect([...decoded.payload]).toEqual([...payload])
      },
    ),
  )
})

it('reads a frame that lies inside a larger buffer', () => {
  const frame = encodeFrame({ a: 1 }, new Uint8Array([7])) as Uint8Array
  const buffer = new Uint8Array(frame.length + 10).fill(255)
  buffer.set(frame, 5)
  expect(decodeFrame(buffer.subarray(5, 5 + frame.length))).toEqual({
    message: { a: 1 },
    payload: new Uint8Array([7]),
  })
})

it('never throws anything but MalformedFrame', () => {
  const isTaken = (data: string | Uint8Array): boolean => {
    try {
      return decodeFrame(data) !== undefined
    } catch (error) {
      return error instanceof MalformedFrame
    }
  }
  expect(() => fc.assert(fc.property(fc.oneof(fc.uint8Array(), fc.string()), isTaken))).not.toThrow()
})

it.each([
  ['nothing', new Uint8Array()],
  ['a length beyond its end', new Uint8Array([0, 0, 0, 9, 123, 125])],
  ['invalid UTF-8', new Uint8Array([0, 0, 0, 1, 255])],
  ['text that is no JSON', '{'],
])('refuses %s', (_, data) => {
  expect(() => decodeFrame(data)).toThrow(MalformedFrame)
})
