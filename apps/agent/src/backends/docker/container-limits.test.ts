import { dockerExecutor } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { Rejected } from '../backend.ts'
import { containerLimits } from './container-limits.ts'
import type { EngineFacts } from './engine.ts'

const keeps = { memory: true, cpus: true, pids: true }
const facts = { cpus: 2, keeps } as EngineFacts
const mb = 1_024 * 1_024

function limits(settings: object, asked: object = {}, engine: EngineFacts = facts) {
  const given = { image: 'python', ...settings }
  const executor = { settings: dockerExecutor.parse(given) } as never
  return containerLimits({ executor, limits: { timeout_sec: 1, output_limit_kb: 4, ...asked } }, engine)
}

describe('containerLimits', () => {
  it('takes those of the job, and where it says nothing those of the executor', () => {
    expect(limits({ pids_limit: 50 }, { mem_limit_mb: 64 })).toEqual({
      memoryBytes: 64 * mb,
      nanoCpus: 1e9,
      pids: 51,
      diskBytes: 32 * mb,
      tmpBytes: 8 * mb,
      outputBytes: 4_096,
    })
  })

  it('gives no more disk than half the memory, as what is written counts as memory', () => {
    expect(limits({ disk_limit_mb: 100 }).diskBytes).toBe(100 * mb)
    expect(limits({ disk_limit_mb: 900 }).diskBytes).toBe(512 * mb)
  })

  it('gives no more cores than there are', () => {
    expect(limits({ cpus_limit_cores: 64 }).nanoCpus).toBe(2e9)
    expect(limits({ cpus_limit_cores: 0.01 }).nanoCpus).toBe(1e7)
  })

  it.each([
    [{ mem_limit_mb: 5 }, {}, 'mem_limit_mb 5 is too small'],
    [{}, { memory: false }, 'cannot keep mem_limit_mb'],
    [{}, { cpus: false }, 'cannot keep cpus_limit_cores'],
    [{}, { pids: false }, 'cannot keep pids_limit'],
  ])('of settings %o on an Engine with %o is refused: %s', (settings, lacking, words) => {
    const refused = (): unknown => limits(settings, {}, { ...facts, keeps: { ...keeps, ...lacking } })
    expect(refused).toThrow(Rejected)
    expect(refused).toThrow(words)
  })
})
