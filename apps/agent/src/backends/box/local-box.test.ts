import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { startLocalBox } from './local-box.ts'

const dir = mkdtempSync(join(tmpdir(), 'errand-local-box-'))
afterAll(() => rmSync(dir, { recursive: true }))

describe('startLocalBox', () => {
  test('lets a box that says nonsense end, and takes nothing more from it', async () => {
    const binary = join(dir, 'nonsense')
    writeFileSync(binary, '#!/bin/sh\nprintf "S\\2\\0\\0\\0\\1\\0?????"; read end; printf "?????"\n')
    chmodSync(binary, 0o755)
    const box = startLocalBox({}, binary)
    const heard: string[] = []
    const reason = await new Promise<Error>((resolve) =>
      box.listen({
        frame: ({ type }) => heard.push(type),
        ending: () => {},
        closed(error) {
          heard.push('closed')
          resolve(error)
        },
      }),
    )
    expect(reason.name).toBe('BrokenFrames')
    expect(heard).toEqual(['started', 'closed'])
    expect(box.alive).toBe(false)
    box.kill()
    await box.close()
  })

  test('says that a box could not be started', async () => {
    const box = startLocalBox({}, join(dir, 'missing'))
    const reason = await new Promise<Error>((resolve) =>
      box.listen({ frame: () => {}, ending: () => {}, closed: resolve }),
    )
    expect(reason.message).toContain('ENOENT')
    expect(box.alive).toBe(false)
    await box.close()
  })
})
