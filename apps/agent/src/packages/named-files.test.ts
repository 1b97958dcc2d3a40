import { expect, it } from 'vitest'
import { NamedFiles } from './named-files.ts'

it('finds what was named, by a token that stays the same, and nothing else', () => {
  const files = new NamedFiles()
  const token = files.name('http://h/a')
  expect(files.name('http://h/b')).not.toBe(token)
  expect(files.name('http://h/a')).toBe(token)
  expect(files.find(token)?.href).toBe('http://h/a')
  for (const other of ['2', '-1', '', ' 0', '0x0', '1e0', 'length', 'http://h/a', '9'.repeat(20)])
    expect(files.find(other)).toBeUndefined()
})

it('keeps no more than fits', () => {
  const files = new NamedFiles()
  const long = 'x'.repeat(2 ** 20)
  expect(() => {
    for (let n = 0; n < 200; n += 1) files.name(`${n}${long}`)
  }).toThrow('more files than can be kept')
  expect(files.name(`0${long}`)).toBe('0')
})
