import { lookup } from 'node:dns/promises'
import { describe, expect, it } from 'vitest'
import { addressesOfIndex, lookupAtMost, nearestOf, nearnessOf, refuseNearer } from './nearness.ts'

describe('nearness', () => {
  it.each([
    ['192.0.2.1', 0],
    ['2001:db8::1', 0],
    ['10.1.2.3', 1],
    ['100.64.0.1', 1],
    ['172.31.255.255', 1],
    ['172.32.0.1', 0],
    ['192.168.1.1', 1],
    ['fd00::1', 1],
    ['127.0.0.1', 2],
    ['127.255.0.1', 2],
    ['169.254.169.254', 2],
    ['0.0.0.0', 2],
    ['::1', 2],
    ['::', 2],
    ['fe80::1', 2],
    ['::ffff:127.0.0.1', 2],
    ['::ffff:10.0.0.1', 1],
    ['::ffff:a9fe:a9fe', 2],
  ] as const)('of %s is %i', (address, nearness) => {
    expect(nearnessOf(address)).toBe(nearness)
  })

  it('of a host is that of its addresses', async () => {
    const nearness = async (hostname: string) => nearestOf(await addressesOfIndex(hostname))
    expect(await nearness('localhost')).toBe(2)
    expect(await nearness('[::1]')).toBe(2)
    expect(await nearness('192.0.2.1')).toBe(0)
    await expect(nearness('no-such-host.invalid')).rejects.toMatchObject({ syscall: 'getaddrinfo' })
  })
})

describe('a host that is nearer than the index', () => {
  const found = (hostname: string, most: 0 | 1 | 2, all: boolean) =>
    new Promise((resolve, reject) => {
      lookupAtMost(most)(hostname, { all }, (error, address, family) =>
        error ? reject(error) : resolve(all ? address : { address, family }),
      )
    })

  it('is refused when its name is looked up', async () => {
    await expect(found('localhost', 1, true)).rejects.toThrow('localhost, which is nearer to this host')
    await expect(found('localhost', 0, false)).rejects.toMatchObject({ status: 403 })
    expect(await found('localhost', 2, true)).toEqual(await lookup('localhost', { all: true }))
    expect(await found('localhost', 2, false)).toEqual(await lookup('localhost'))
    await expect(found('no-such-host.invalid', 2, true)).rejects.toMatchObject({ syscall: 'getaddrinfo' })
  })

  it('is refused when it is an address, however that is written', () => {
    for (const url of [
      'http://127.0.0.1/',
      'http://2130706433/',
      'http://0x7f.1/',
      'http://[::1]/',
      'http://[::ffff:7f00:1]/',
    ])
      expect(() => refuseNearer(new URL(url).hostname, 1)).toThrow('nearer to this host')
    expect(() => refuseNearer('10.0.0.1', 0)).toThrow('nearer')
    expect(() => refuseNearer('10.0.0.1', 1)).not.toThrow()
    expect(() => refuseNearer('localhost', 0)).not.toThrow()
  })
})
