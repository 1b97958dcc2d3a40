import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { folderTar, singleFileTar } from './single-entry-tar.ts'

it.each([0, 1, 511, 512, 513, 100_000])('a file of %i bytes comes out as it went in', (size) => {
  const content = Buffer.alloc(size, 'box')
  const input = singleFileTar('errand/box', content)
  expect(execFileSync('tar', ['-xO', 'errand/box'], { input }).equals(content)).toBe(true)
  const [line] = execFileSync('tar', ['-tv', '--numeric-owner'], { input, encoding: 'utf8' }).split('\n')
  expect(line).toMatch(new RegExp(`^-rwxr-xr-x 0/0 +${size} 1970-01-01 00:00 errand/box$`))
})

it('a folder comes out with its owner', () => {
  const input = folderTar('errand', { uid: 60_579, gid: 60_580 })
  const line = execFileSync('tar', ['-tv', '--numeric-owner'], { input, encoding: 'utf8' })
  expect(line).toMatch(/^drwxr-xr-x 60579\/60580 +0 1970-01-01 00:00 errand\/\n$/)
})
