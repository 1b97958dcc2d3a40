import { describe, expect, test } from 'vitest'
import { PrintedLines } from './printed-lines.ts'

function open(secrets: string[] = []) {
  const told: string[] = []
  const lines = new PrintedLines((stream, line) => void told.push(`${stream} ${line}`), secrets)
  const write = (text: string, stream: 'stdout' | 'stderr' = 'stdout'): void =>
    lines.write(stream, Buffer.from(text))
  return { told, lines, write }
}

describe('what an installer prints', () => {
  test('is told line by line, however it comes', () => {
    const { told, lines, write } = open()
    write('Collec')
    write('ting a\nError', 'stderr')
    write('ting a\r\n\n  b  \n')
    lines.write('stdout', Buffer.from([0xe2, 0x82]))
    lines.write('stdout', Buffer.from([0xac, 0x0a]))
    write('last')
    lines.end()
    expect(told).toEqual([
      'stderr ting a',
      'stdout Collecting a',
      'stdout b',
      'stdout €',
      'stdout last',
      'stderr Error',
    ])
  })

  test('steers no terminal and tells no secret', () => {
    const { told, write } = open(['h0rse', 'aDByc2U='])
    write('\u001b[31mred\u001b[0m \u001b]8;;http://x\u0007link h0rse aDByc2U=\n')
    expect(told).toEqual(['stdout red link *** ***'])
  })

  test('is cut where it is long, and where there is no end of it', () => {
    const { told, lines, write } = open()
    write(`${'x'.repeat(5_000)}\n`)
    for (let piece = 0; piece < 100; piece++) write('y'.repeat(65_536))
    write('\n')
    write('z\n'.repeat(5_000))
    lines.end()
    expect(told[0]).toHaveLength('stdout '.length + 2_000)
    expect(told[1]).toHaveLength('stdout '.length + 2_000)
    expect(told).toHaveLength(2_001)
    expect(told.at(-1)).toBe('stderr it prints more, which is not kept')
  })

  test('says why it failed by the last of its complaints, else of what it said', () => {
    const { lines, write } = open()
    write(Array.from({ length: 30 }, (_, n) => `line ${n}\n`).join(''))
    expect(lines.reason).toMatch(/^line 18; .*; line 29$/)
    write('no such package\nnothing matches\n', 'stderr')
    expect(lines.reason).toBe('no such package; nothing matches')
  })
})
