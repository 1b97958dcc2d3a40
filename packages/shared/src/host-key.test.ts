import { describe, expect, it } from 'vitest'
import { hostKeyLine, hostKeyRequest, hostKeySha256, readHostKey } from './host-key.ts'

const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVznbk1NsnizNO0/7bK9wf4Je66Y90iqj2+tMoPcYLF'

describe('a host key', () => {
  it('has the fingerprint that ssh-keygen -l prints, whatever its comment', async () => {
    const sha256 = 'SHA256:pri+mPl+3FcBVPRzb8RNw6SPaIFVImxqQ2x1zLCkZSA'
    expect(hostKeySha256.parse(sha256)).toBe(sha256)
    for (const line of [key, `${key} some comment`])
      expect(await readHostKey(hostKeyLine.parse(line))).toEqual({
        key_type: 'ssh-ed25519',
        sha256,
        host_key: key,
      })
  })

  it.each([
    '',
    'ssh-ed25519',
    'ssh-ed25519 ',
    'AAAA',
    'ssh-rsa A',
    'ssh-rsa AAAA=',
    'ssh-rsa ÄÄÄÄ',
    `-${key}`,
  ])('is not "%s"', (line) => {
    expect(hostKeyLine.safeParse(line).success).toBe(false)
  })
})

it('takes secrets only with a fingerprint that is confirmed', () => {
  expect(hostKeyRequest.safeParse({}).success).toBe(true)
  expect(hostKeyRequest.safeParse({ enabled: true }).success).toBe(false)
  expect(hostKeyRequest.safeParse({ confirm: 'MD5:00:11' }).success).toBe(false)
})
