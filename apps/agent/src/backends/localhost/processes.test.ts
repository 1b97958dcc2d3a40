import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { isAlive, killAll, markedBy } from './processes.ts'

describe('killAll', () => {
  test('ends what is meant and its children, and nothing else', async () => {
    const value = crypto.randomUUID()
    const meant = start(value, '(setsid sleep 300 &); sleep 300 & echo ready; wait')
    const other = start('another', 'echo ready; exec sleep 300')
    await Promise.all([once(meant.stdout, 'data'), once(other.stdout, 'data')])
    await killAll(markedBy('KILL_ALL_TEST', value))
    const gone = once(meant, 'close')
    expect(await gone).toEqual([null, 'SIGKILL'])
    expect(isAlive(other.pid!)).toBe(true)
    other.kill('SIGKILL')
    await once(other, 'close')
  })

  test('looks at pids given out after `since` only', async () => {
    const value = crypto.randomUUID()
    const before = start(value, 'echo ready; exec sleep 300')
    await once(before.stdout, 'data')
    const after = start(value, 'echo ready; exec sleep 300')
    await once(after.stdout, 'data')
    await killAll(markedBy('KILL_ALL_TEST', value), { since: before.pid! })
    expect(await once(after, 'close')).toEqual([null, 'SIGKILL'])
    expect(isAlive(before.pid!)).toBe(true)
    await killAll(markedBy('KILL_ALL_TEST', value))
    expect(await once(before, 'close')).toEqual([null, 'SIGKILL'])
  })

  test('outruns a program that forks and dies without end', async () => {
    const value = crypto.randomUUID()
    const code =
      'import os\nprint("ready", flush=True)\nwhile True:\n  if os.fork(): os._exit(0)\n  os.setsid()'
    const storm = spawn('/usr/bin/python3', ['-c', code], { env: { KILL_ALL_TEST: value } })
    await once(storm.stdout, 'data')
    const meant = markedBy('KILL_ALL_TEST', value)
    await killAll(meant, { since: storm.pid! })
    await once(storm, 'close')
    await killAll((pid) => meant(pid) && expect.unreachable(`${pid} is alive`))
  })
})

function start(value: string, script: string) {
  return spawn('/bin/sh', ['-c', script], { env: { KILL_ALL_TEST: value } })
}
