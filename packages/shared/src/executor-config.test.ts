import { describe, expect, it } from 'vitest'
import type { z } from 'zod'
import { dockerExecutor, localhostExecutor, maxTimeoutSec, sshExecutor } from './executor-config.ts'
import { problemDetails } from './problem.ts'

const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6p'
const ssh = { host: 'h', username: 'u', password: 'p', host_key: key }

const pointers = (schema: z.ZodType, given: object) => {
  const parsed = schema.safeParse(given)
  return parsed.success ? [] : problemDetails(parsed.error).map((one) => one.pointer)
}

describe('executor settings', () => {
  it('have defaults for each field that has one', () => {
    expect(localhostExecutor.parse({})).toMatchObject({
      runtime: 'python',
      timeout_sec: 30,
      output_limit_kb: 1024,
      sandbox: 'required',
      enabled: true,
    })
    expect(dockerExecutor.parse({ image: 'i' })).toMatchObject({
      mem_limit_mb: 1024,
      cpus_limit_cores: 1,
      pids_limit: 128,
      disk_limit_mb: 256,
      network: 'none',
      pull_policy: 'missing',
    })
    expect(sshExecutor.parse(ssh)).toMatchObject({ port: 22 })
  })

  it('refuse unknown keys and a timeout above the largest', () => {
    expect(pointers(localhostExecutor, { tiemout_sec: 1 })).toEqual(['/tiemout_sec'])
    expect(pointers(localhostExecutor, { timeout_sec: 10, max_timeout_sec: 5 })).toEqual(['/max_timeout_sec'])
  })

  it('refuse users that there cannot be', () => {
    const users = ['4294967295', '1000:2147483647', '99999999999', 'root']
    for (const user of users) expect(pointers(dockerExecutor, { image: 'i', user })).toEqual(['/user'])
    expect(pointers(dockerExecutor, { image: 'i', user: '2147483646:1000' })).toEqual([])
  })

  it('let callers ask for 300 s or the default timeout where no larger one is set', () => {
    expect(maxTimeoutSec({ timeout_sec: 30 })).toBe(300)
    expect(maxTimeoutSec({ timeout_sec: 900 })).toBe(900)
    expect(maxTimeoutSec({ timeout_sec: 30, max_timeout_sec: 60 })).toBe(60)
  })
})

describe('an ssh executor', () => {
  it.each([
    ['a pinned host key', '/host_key', { ...ssh, host_key: undefined }],
    ['one form of the pin', '/host_key_sha256', { ...ssh, host_key_sha256: `SHA256:${'a'.repeat(43)}` }],
    ['a password or a key', '/private_key', { ...ssh, password: undefined }],
    ['a key for its passphrase', '/passphrase', { ...ssh, passphrase: 'x' }],
    ['a host key that is one', '/host_key', { ...ssh, host_key: 'not a key' }],
    ['at most two host keys', '/host_key', { ...ssh, host_key: [key, key, key] }],
  ])('needs %s', (_, pointer, given) => {
    expect(pointers(sshExecutor, given)).toContain(pointer)
  })
})
