import { lookup, type LookupAddress } from 'node:dns'
import { lookup as lookupNow } from 'node:dns/promises'
import { BlockList, isIP, type LookupFunction } from 'node:net'
import { IndexFault } from './index-source.ts'

/** How near an address is: 0 of anyone, 1 of a private network, 2 of this host or its link (where clouds tell secrets). */
export function nearnessOf(address: string): 0 | 1 | 2 {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4'
  if (here.check(address, family)) return 2
  return inside.check(address, family) ? 1 : 0
}

/**
 * The addresses of an index's host (by name or address, as in a URL), to be kept while packages come from it: whoever has
 * the name could lead it elsewhere when it is asked for again. For the same reason this host and its link do not count
 * where there are others.
 */
export async function addressesOfIndex(hostname: string): Promise<LookupAddress[]> {
  const found = await lookupNow(bare(hostname), { all: true })
  const farther = found.filter(({ address }) => nearnessOf(address) < 2)
  return farther.length > 0 ? farther : found
}

/** Has connections go to one of these, whatever the name. */
export function lookupAmong(found: LookupAddress[]): LookupFunction {
  return (_hostname, options, done) => answer(found, options, done)
}

export function nearestOf(found: readonly LookupAddress[]): 0 | 1 | 2 {
  return Math.max(0, ...found.map(({ address }) => nearnessOf(address))) as 0 | 1 | 2
}

/**
 * Looks names up for a connection, and refuses hosts nearer than `most`: where an index names files, what it names must
 * not be nearer to us than it is, or it could have us ask our own network for what it can't see.
 */
export function lookupAtMost(most: 0 | 1 | 2): LookupFunction {
  return (hostname, options, done) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return done(error, [])
      if (nearestOf(found) > most) return done(tooNear(hostname), [])
      return answer(found, options, done)
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

function answer(found: LookupAddress[], ...[{ all }, done]: Tail<Parameters<LookupFunction>>): void {
  const [first] = found
  if (all) done(null, found)
  else done(null, first?.address ?? '', first?.family)
}

type Tail<T extends unknown[]> = T extends [unknown, ...infer Rest] ? Rest : never

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
