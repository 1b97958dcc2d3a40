import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { cksum } from './cksum.ts'

test.each([0, 1, 255, 256, 70_000])('is what cksum prints of %i bytes', (size) => {
  const bytes = randomBytes(size)
  const printed = execFileSync('cksum', { input: bytes, encoding: 'utf8' }).trim()
  expect(`${cksum(bytes)} ${size}`).toBe(printed)
})
