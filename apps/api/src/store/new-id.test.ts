import { expect, it } from 'vitest'
import { newId } from './new-id.ts'

it('is a UUID of version 7 that tells its time', () => {
  const id = newId(0x0198_1234_5678)
  expect(id).toMatch(/^01981234-5678-7000-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})

it('sorts by time, also within a millisecond', () => {
  const times = [
    1_700_000_000_000, 1_700_000_000_000.001, 1_700_000_000_000.5, 1_700_000_000_000.999, 1_700_000_000_001,
  ]
  const ids = times.map((ms) => newId(ms))
  expect(ids.toSorted((one, other) => (one < other ? -1 : 1))).toEqual(ids)
})

it('is of now where no time is given', () => {
  const ms = Number.parseInt(newId().replace('-', '').slice(0, 12), 16)
  expect(Math.abs(ms - Date.now())).toBeLessThan(60_000)
})
