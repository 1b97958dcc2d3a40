import { spawnSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { startScript } from './start-script.ts'

const printAll = [
  '/usr/bin/python3',
  '-c',
  'import os, sys, json; print(json.dumps([sys.argv[1:], dict(os.environ)]))',
]

/** Runs it by a shell, with a fourth descriptor as standard error. */
function runScript(shell: string, command: string[], env: Record<string, string>) {
  const script = startScript(command, env, { stderr: 3, unneeded: [4] })
  const { stdout, output, status } = spawnSync(shell, ['-s'], {
    input: script,
    env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    encoding: 'utf8',
  })
  return { stdout, note: output[2], stderr: output[3], status }
}

describe.each([['/bin/sh'], ['/bin/bash']])('a start script, read by %s', (shell) => {
  test('hands over words and variables as they are', () => {
    const nasty = [
      `it's`,
      '',
      '$HOME `id` $(id)',
      'line\nbreak\n',
      '\\',
      `'"'"'`,
      '-n',
      '*',
      '日本\u0081\u0088😀',
    ]
    const env = Object.fromEntries(nasty.map((value, index) => [`V${index}`, value]))
    const { stdout } = runScript(shell, [...printAll, ...nasty], env)
    const [words, variables] = JSON.parse(stdout)
    expect(words).toEqual(nasty)
    expect(variables).toMatchObject(env)
  })

  test('sets variables that shells keep for themselves', () => {
    const env = {
      OPTIND: 'x',
      PPID: 'x',
      UID: 'x',
      EUID: 'x',
      SHELLOPTS: 'x',
      BASHOPTS: 'x',
      RANDOM: 'x',
      IFS: 'x',
      PWD: 'x',
    }
    const { stdout } = runScript(shell, printAll, env)
    expect(JSON.parse(stdout)[1]).toMatchObject(env)
  })

  test("moves the program's standard error away from the shell's", () => {
    const { note, stderr, status } = runScript(shell, ['/bin/sh', '-c', 'echo mine >&2; exit 3'], {})
    expect({ note, stderr, status }).toEqual({ note: '', stderr: 'mine\n', status: 3 })
  })
})
