import { dockerExecutor } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { Rejected } from '../backend.ts'
import { containerLimits } from './container-limits.ts'

const mb = 1_024 * 1_024

function limits(settings: object, asked: object = {}) {
  const given = { image: 'python', ...settings }
  const executor = { settings: dockerExecutor.parse(given) } as never
  return containerLimits({ executor, limits: { timeout_sec: 1, output_limit_kb: 4, ...asked } }, { cpus: 2 })
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

  it('refuses a memory limit that no container starts with', () => {
    expect(() => limits({ mem_limit_mb: 5 })).toThrow(Rejected)
    expect(() => limits({ mem_limit_mb: 5 })).toThrow('mem_limit_mb 5 is too small')
  })
})
