import { expect, it } from 'vitest'
import { newId } from './new-id.ts'

it('is a UUID of version 7 that sorts by the millisecond it was made in', () => {
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
  const ids = [1, 0x1_0000, 1_795_443_575_443, 2 ** 48 - 1].map((ms) => newId(ms))
  for (const id of ids) expect(id).toMatch(uuid)
  expect(ids.toSorted()).toEqual(ids)
  expect(newId(0x0123_4567_89ab)).toMatch(/^01234567-89ab-7/)
  expect(newId(1)).not.toBe(newId(1))
})
