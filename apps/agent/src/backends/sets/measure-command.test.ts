import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { measureCommand } from './measure-command.ts'

test.each([
  ['python', '/usr/bin/python3'],
  ['node', process.execPath],
] as const)('%s tells what a folder takes on its disk, as du does', (runtime, interpreter) => {
  const dir = mkdtempSync(join(tmpdir(), 'errand-measured-'))
  mkdirSync(join(dir, 'a/b'), { recursive: true })
  writeFileSync(join(dir, 'a/b/large'), Buffer.alloc(300_000, 1))
  writeFileSync(join(dir, 'small'), 'x')
  symlinkSync('/usr', join(dir, 'link'))
  symlinkSync('nowhere', join(dir, 'a/broken'))
  const [tool = '', ...args] = measureCommand(runtime, interpreter, dir)
  const du = execFileSync('du', ['-sk', dir], { encoding: 'utf8' })
  const measured = Number(execFileSync(tool, args, { encoding: 'utf8' }))
  // without the folder itself
  expect(Math.abs(measured / 1_024 - Number(du.split('\t')[0]))).toBeLessThanOrEqual(4)
  rmSync(dir, { recursive: true })
})
