import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { placesOf } from '../../apps/agent/src/backends/localhost/places.ts'
import { tag } from './harness.ts'
import { openLocalhost } from './open-localhost.ts'
import { processesWith } from './processes-with.ts'

describe('localhost after the agent was killed', () => {
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
