import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { localhostExecutor } from '@errand/shared'
import { describe, expect, test } from 'vitest'
import { placesOf } from '../../apps/agent/src/backends/localhost/places.ts'
import { drive } from './drive.ts'
import { tag } from './harness.ts'
import { openLocalhost } from './open-localhost.ts'
import { processesWith } from './processes-with.ts'

describe('localhost after the agent or a box was killed', () => {
  test.each(['required', 'none'])('ends and removes what it left (sandbox: %s)', async (sandbox) => {
    const { agentDir, workDir, ...first } = await openLocalhost()
    await first.backend.close()
    const value = crypto.randomUUID()
    const script = join(import.meta.dirname, 'dying-agent.ts')
    const agent = spawn(process.execPath, [script, agentDir, workDir, sandbox, value], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(agent.stdout, 'data')
    expect(processesWith(tag.name, value).length).toBeGreaterThan(1)
    expect(readdirSync(workDir)).not.toEqual([])

    agent.kill('SIGKILL')
    await once(agent, 'exit')
    const second = await openLocalhost({ agentDir, workDir })
    expect(processesWith(tag.name, value)).toEqual([])
    expect(readdirSync(workDir)).toEqual([])
    await second.close()
  })

  test.each(['required', 'none'])('leaves nothing of a run whose box died (sandbox: %s)', async (sandbox) => {
    const { workDir, ...opened } = await openLocalhost()
    const value = crypto.randomUUID()
    const code = `import os, time
if os.fork() == 0: os.setsid()
else: print('runs', flush=True)
time.sleep(300)`
    const before = boxes()
    const run = drive({
      backend: opened.backend,
      settings: localhostExecutor.parse({ sandbox, work_dir: workDir }),
      submission: { code, env: { [tag.name]: value } },
      watch: () =>
        boxes()
          .filter((pid) => !before.includes(pid))
          .forEach((pid) => process.kill(pid, 'SIGKILL')),
    })
    await expect(run).rejects.toThrow('the box on this host ended (SIGKILL)')
    expect(processesWith(tag.name, value)).toEqual([])
    expect(readdirSync(workDir)).toEqual([])
    await opened.close()
  })

  test.runIf(process.getuid?.() === 0)(
    'of a root agent removes what agents kept whose directory is gone',
    async () => {
      const gone = await openLocalhost()
      const { reachable } = placesOf(gone.agentDir, true)
      expect(existsSync(reachable)).toBe(true)
      rmSync(gone.agentDir, { recursive: true })
      const other = await openLocalhost()
      expect(existsSync(reachable)).toBe(false)
      await gone.close()
      await other.close()
    },
  )
})

/** That this process started. */
function boxes(): number[] {
  const tasks = readdirSync('/proc/self/task')
  return tasks.flatMap((id) =>
    readFileSync(`/proc/self/task/${id}/children`, 'utf8')
      .split(' ')
      .filter((pid) => pid !== '' && readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('box-linux'))
      .map(Number),
  )
}
