import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { isAlive, killAll, markedBy } from './processes.ts'

describe('killAll', () => {
  test('ends what is meant and its children, and nothing else', async () => {
    const value = crypto.randomUUID()
    const meant = await start(value, '(setsid sleep 300 &); sleep 300 & echo ready; wait')
    const other = await start('another', 'echo ready; exec sleep 300')
    await killAll(markedBy(name, value))
    expect(await meant.closed).toEqual([null, 'SIGKILL'])
    expect(isAlive(other.pid)).toBe(true)
    process.kill(other.pid)
    await other.closed
  })

  test('looks at pids given out after `since` only', async () => {
    const value = crypto.randomUUID()
    const before = await start(value, 'echo ready; exec sleep 300')
    const after = await start(value, 'echo ready; exec sleep 300')
    await killAll(markedBy(name, value), { since: before.pid })
    expect(await after.closed).toEqual([null, 'SIGKILL'])
    expect(isAlive(before.pid)).toBe(true)
    await killAll(markedBy(name, value))
    expect(await before.closed).toEqual([null, 'SIGKILL'])
  })

  test('outruns a program that forks and dies without end', async () => {
    const value = crypto.randomUUID()
    const code =
      'import os\nprint("ready", flush=True)\nwhile True:\n  if os.fork(): os._exit(0)\n  os.setsid()'
    const storm = await start(value, `exec /usr/bin/python3 -c '${code}'`)
    await killAll(markedBy(name, value), { since: storm.pid })
    // Whoever is left would hold the output.
    await storm.closed
  })
})

const name = 'KILL_ALL_TEST'

/** A process that has this value in its environment, once it has printed something. */
async function start(value: string, script: string): Promise<{ pid: number; closed: Promise<unknown[]> }> {
  const child = spawn('/bin/sh', ['-c', script], { env: { [name]: value } })
  const closed = once(child, 'close')
  await once(child.stdout, 'data')
  return { pid: child.pid!, closed }
}
