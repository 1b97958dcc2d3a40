import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { isAlive, killAll, markedBy } from './processes.ts'

describe('killAll', () => {
  test('ends what is meant and its children, and nothing else', async () => {
    const value = crypto.randomUUID()
    const meant = await start(value, '(setsid sleep 300 &); sleep 300 & echo ready; exec sleep 300')
    const other = await start('another', 'echo ready; exec sleep 300')
    await killAll(markedBy(name, value))
    expect(await meant.closed).toEqual([null, 'SIGKILL'])
    expect(isAlive(other.pid)).toBe(true)
    process.kill(other.pid)
    await other.closed
  })

  test('looks seldom for what does not go', async () => {
    // Like what hangs in the kernel, a zombie does not go by a signal. `sleep` never collects its children.
    const parent = await start('a parent', 'sleep 300 & echo $!; exec sleep 300')
    const zombie = Number(parent.printed)
    await expect.poll(() => readFileSync(`/proc/${parent.pid}/comm`, 'latin1')).toBe('sleep\n')
    const begin = performance.now()
    let late = 0
    await killAll((pid) => {
      const ms = performance.now() - begin
      if (pid === zombie && ms > 1_200) late += 1
      return pid === zombie && ms < 2_200
    })
    expect(late).toBeGreaterThan(0)
    expect(late).toBeLessThan(50)
    process.kill(parent.pid)
    await parent.closed
  })

  test('outruns a program that forks and dies without end', async () => {
    const value = crypto.randomUUID()
    const storm = await start(value, `exec /usr/bin/python3 -c '${forksFor10Seconds}'`)
    await storm.exited
    await killAll(markedBy(name, value))
    // Whoever is left would hold the output.
    const left = setTimeout(5_000, 'somebody is left')
    expect(await Promise.race([storm.closed, left])).toEqual([0, null])
  })
})

const forksFor10Seconds = `import os, time
end = time.time() + 10
print("ready", flush=True)
while time.time() < end:
  if os.fork(): os._exit(0)
  os.setsid()`

const name = 'KILL_ALL_TEST'

interface Started {
  pid: number
  printed: string
  exited: Promise<unknown[]>
  closed: Promise<unknown[]>
}

/** A process that has this value in its environment, once it has printed something. */
async function start(value: string, script: string): Promise<Started> {
  const child = spawn('/bin/sh', ['-c', script], { env: { [name]: value } })
  const [exited, closed] = [once(child, 'exit'), once(child, 'close')]
  const [printed] = await once(child.stdout, 'data')
  return { pid: child.pid!, printed: String(printed), exited, closed }
}
