import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { runTool } from '../run-tool.ts'
import { removeTree } from './work-dir.ts'

const dir = mkdtempSync(join(tmpdir(), 'errand-removal-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

describe('removeTree', () => {
  test('tries again when a tool fails, and lets none end before it is done', async () => {
    const tree = join(dir, 'tree')
    mkdirSync(join(tree, 'a/b'), { recursive: true })
    const limits = new Set<number | undefined>()
    let failures = 3
    await removeTree(tree, (tool, args, options) => {
      limits.add(options?.timeoutMs)
      if (tool === 'rm' && failures-- > 0) return Promise.reject(new Error('EAGAIN'))
      return runTool(tool, args, options)
    })
    expect(existsSync(tree)).toBe(false)
    expect([...limits]).toEqual([0])
  })

  test('says what was in the way when the tree stays', async () => {
    const tree = join(dir, 'other')
    mkdirSync(tree)
    const failing = removeTree(tree, (tool) =>
      tool === 'rm' ? Promise.reject(new Error('EROFS')) : Promise.resolve(''),
    )
    await expect(failing).rejects.toThrow('EROFS')
  })

  test('is no error where there is nothing', async () => {
    await expect(removeTree(join(dir, 'nothing'))).resolves.toBeUndefined()
  })
})
