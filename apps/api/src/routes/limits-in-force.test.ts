import { dockerExecutor, localhostExecutor, sshExecutor } from '@errand/shared'
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

  it('requires all limits of a container, its defaults too', () => {
    expect(limitsInForce(docker(), { limits: { cpu_time_sec: 1 } }).required.toSorted()).toEqual([
      'cpu_time_sec',
      'cpus_limit_cores',
      'disk_limit_mb',
      'mem_limit_mb',
      'pids_limit',
    ])
  })

  it.each([
    [{}, {}, 256],
    [{ mem_limit_mb: 256 }, {}, 128],
    [{ mem_limit_mb: 5 }, {}, 2],
    [{ disk_limit_mb: 2_000 }, {}, 512],
    [{ disk_limit_mb: 2_000 }, { disk_limit_mb: 1_000 }, 512],
    [{}, { mem_limit_mb: 100 }, 50],
    [{}, { mem_limit_mb: 100, disk_limit_mb: 20 }, 20],
  ])('keeps the disk of a container %o, asked for %o, to %d MB of its memory', (settings, asked, applied) => {
    expect(limitsInForce(docker(settings), { limits: asked }).limits.disk_limit_mb).toBe(applied)
  })

  it('has no limits on an ssh target but those that somebody set', () => {
    const ssh = (given: object = {}) => ({
      executor_type: 'ssh' as const,
      ...sshExecutor.parse({ host: 'h', username: 'u', password: 'p', host_key: 'ssh-rsa AAAA', ...given }),
    })
    expect(limitsInForce(ssh(), { limits: {} })).toEqual({
      limits: { timeout_sec: 30, output_limit_kb: 1024 },
      required: [],
    })
    const asked = { limits: { disk_limit_mb: 5_000 } }
    expect(limitsInForce(ssh({ mem_limit_mb: 64 }), asked)).toMatchObject({
      limits: { mem_limit_mb: 64, disk_limit_mb: 5_000 },
      required: ['mem_limit_mb', 'disk_limit_mb'],
    })
    expect(() => limitsInForce(ssh({ mem_limit_mb: 64 }), { limits: { mem_limit_mb: 65 } })).toThrow(Problem)
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
