import { dockerExecutor, localhostExecutor } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { Problem } from '../http/problem.ts'
import { limitsInForce } from './limits-in-force.ts'

const local = (given: object = {}) => ({
  executor_type: 'localhost' as const,
  ...localhostExecutor.parse(given),
})
const docker = (given: object = {}) => ({
  executor_type: 'docker' as const,
  ...dockerExecutor.parse({ image: 'python', ...given }),
})

describe('limitsInForce', () => {
  it('requires nothing that nobody set', () => {
    expect(limitsInForce(local(), { limits: {} })).toEqual({
      limits: { timeout_sec: 30, output_limit_kb: 1024 },
      required: [],
    })
  })

  it('requires what the caller or the executor set', () => {
    const asked = { timeout_sec: 0.5, limits: { mem_limit_mb: 64, cpu_time_sec: 2, output_limit_kb: 1 } }
    expect(limitsInForce(local({ pids_limit: 9 }), asked)).toEqual({
      limits: { timeout_sec: 0.5, output_limit_kb: 1, mem_limit_mb: 64, pids_limit: 9, cpu_time_sec: 2 },
      required: ['mem_limit_mb', 'pids_limit', 'cpu_time_sec'],
    })
  })

  it('keeps the limits of a container', () => {
    expect(limitsInForce(docker(), { limits: { mem_limit_mb: 512 } }).limits).toEqual({
      timeout_sec: 30,
      output_limit_kb: 1024,
      mem_limit_mb: 512,
      cpus_limit_cores: 1,
      pids_limit: 128,
      disk_limit_mb: 256,
    })
  })

  it('takes up to what the executor allows, and says what that is', () => {
    expect(() => limitsInForce(docker(), { timeout_sec: 300, limits: { mem_limit_mb: 1024 } })).not.toThrow()
    expect(() => limitsInForce(local({ timeout_sec: 600 }), { timeout_sec: 600, limits: {} })).not.toThrow()
    const refused = () => limitsInForce(docker(), { timeout_sec: 300.5, limits: { pids_limit: 129 } })
    expect(refused).toThrow(Problem)
    expect(refused).toThrow(
      expect.objectContaining({
        errors: [
          { pointer: '/timeout_sec', detail: 'must be at most 300, which the executor allows' },
          { pointer: '/limits/pids_limit', detail: 'must be at most 128, which the executor allows' },
        ],
      }),
    )
  })
})
