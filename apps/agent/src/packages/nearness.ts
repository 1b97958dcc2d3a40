import { lookup } from 'node:dns'
import { lookup as lookupNow } from 'node:dns/promises'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { IndexFault } from './index-source.ts'

/** How near an address is: 0 of anyone, 1 of a private network, 2 of this host or its link (where clouds tell secrets). */
export function nearnessOf(address: string): 0 | 1 | 2 {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  if (here.check(address, family)) return 2
  return inside.check(address, family) ? 1 : 0
}

/** Of a host by name or address (as in a URL), the nearest of all its addresses; 0 where it has none. */
export async function nearnessOfHost(hostname: string): Promise<0 | 1 | 2> {
  const found = await lookupNow(bare(hostname), { all: true }).catch(() => [])
  return nearest(found.map(({ address }) => address))
}

/**
 * Looks names up for a connection, and refuses hosts nearer than `most`: where an index names files, what it names must
 * not be nearer to us than it is, or it could have us ask our own network for what it can't see.
 */
export function lookupAtMost(most: 0 | 1 | 2): LookupFunction {
  return (hostname, options, done) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return done(error, [])
      if (nearest(found.map(({ address }) => address)) > most) return done(tooNear(hostname), [])
      if (options.all) return done(null, found)
      const [first] = found
      return done(null, first?.address ?? '', first?.family)
    })
  }
}

/** The same for an address in a URL, which is never looked up. */
export function refuseNearer(hostname: string, most: 0 | 1 | 2): void {
  if (isIP(bare(hostname)) && nearnessOf(bare(hostname)) > most) throw tooNear(hostname)
}

function tooNear(hostname: string): IndexFault {
  return new IndexFault(
    403,
    `the index names files at ${hostname}, which is nearer to this host than the index`,
  )
}

function nearest(addresses: string[]): 0 | 1 | 2 {
  return Math.max(0, ...addresses.map(nearnessOf)) as 0 | 1 | 2
}

/** Without the brackets of IPv6. */
function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, '')
}

const here = blockList(['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16'], ['::/128', '::1/128', 'fe80::/10'])
const inside = blockList(['10.0.0.0/8', '100.64.0.0/10', '172.16.0.0/12', '192.168.0.0/16'], ['fc00::/7'])

function blockList(ipv4: string[], ipv6: string[]): BlockList {
  const list = new BlockList()
  const add = (family: 'ipv4' | 'ipv6') => (subnet: string) => {
    const [net = '', prefix] = subnet.split('/')
    list.addSubnet(net, Number(prefix), family)
  }
  ipv4.forEach(add('ipv4'))
  ipv6.forEach(add('ipv6'))
  return list
}
