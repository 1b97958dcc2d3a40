import { beforeAll, describe, expect, it } from 'vitest'
import { runtimes, type Runtime } from '@errand/shared'
import { testImages } from './test-images.ts'
import { runTool } from './run-tool.ts'
import { testDockerEngine } from './test-docker-engine.ts'

/** As the strictest executor runs code. */
const locked =
  '--rm --network none --read-only --user 61000:61000 --cap-drop ALL --security-opt no-new-privileges'.split(
    ' ',
  )

let socketPath: string
beforeAll(async () => void (socketPath = await testDockerEngine()), 180_000)

async function run(image: string, ...command: string[]): Promise<string> {
  return runTool('docker', ['--host', `unix://${socketPath}`, 'run', ...locked, image, ...command])
}

describe('the images of the tests', () => {
  it.each(Object.entries(runtimes))('have %s', async (_name, { find, version, launcher }: Runtime) => {
    const script = `tool=$(command -v ${find.join(' ')} | head -n 1); "$tool" "$@" 2>&1; command -v ${launcher ?? 'sh'} >&2`
    const told = await run(testImages.runtimes, 'sh', '-c', script, 'sh', ...version.args)
    expect(told).toMatch(version.pattern)
  })

  it('have a small one with a shell and Python', async () => {
    const program = 'import ctypes, json, sqlite3, ssl; print(6 * 7)'
    expect(await run(testImages.python, 'sh', '-c', `python3 -c '${program}'`)).toBe('42\n')
  })

  it('have what installs packages', async () => {
    const told = (image: string, command: string) => run(image, 'sh', '-c', command)
    for (const image of [testImages.python, testImages.runtimes])
      expect(await told(image, 'python3 -m pip --version && python3 -c "import venv"')).toMatch(/^pip \d/)
    expect(await told(testImages.runtimes, 'HOME=/tmp npm --version')).toMatch(/^\d+\.\d+/)
  })

  it('have one where nothing is but a program that prints its file', async () => {
    expect(await run(testImages.bare, '/usr/bin/python3', '/etc/hostname')).toMatch(/^[0-9a-f]{12}\n$/)
    await expect(run(testImages.bare, '/bin/sh')).rejects.toThrow('no such file')
  })
})
