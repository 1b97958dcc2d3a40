import { expect, it } from 'vitest'
import { BrokenFrames, FrameReader } from './frames.ts'

it.each([
  ['of no known letter', 'y', []],
  ['that is too short', 'X', [1, 0]],
  ['that is empty', 'S', []],
  ['of a phase that there is not', 'S', [9, 0]],
  ['with an answer that there is not', 'Q', [9, 0, 0, 0, 0]],
])('a frame %s is broken', (_, letter, body) => {
  const reader = new FrameReader(() => {})
  const bytes = Buffer.from([letter.charCodeAt(0), body.length, 0, 0, 0, ...body])
  expect(() => reader.write(bytes)).toThrow(BrokenFrames)
})
