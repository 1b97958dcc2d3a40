import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentPolicy } from '@errand/shared'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Image } from './engine.ts'
import { EngineFault } from './engine-fault.ts'
import { KnownImages } from './known-images.ts'

const MiB = 1_048_576
const silent = { debug() {}, info() {}, warn() {}, error() {} }
const imageOf = (id: string, mb = 10): Image => ({ id, env: {}, volumes: [], digests: [], bytes: mb * MiB })

let dir: string
let now: number
/** What the Engine has. */
let there: Map<string, Image>
let removal: (name: string) => Promise<void>

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'errand-images-'))
  now = 0
  there = new Map()
  removal = async (name) => void there.delete(name)
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

function open(images_mb = 25): KnownImages {
  return new KnownImages({
    engine: {
      image: (name) => Promise.resolve(there.get(name)),
      removeImage: (name) => removal(name),
    },
    agentDir: dir,
    disk: { ...agentPolicy.parse({}).disk, images_mb },
    now: () => (now += 1_000),
    changed: () => {},
    log: silent,
  })
}

function download(images: KnownImages, ...names: string[]): void {
  for (const name of names) {
    there.set(name, imageOf(`id of ${name}`))
    images.downloaded(name, there.get(name)!)
  }
}

describe('images', () => {
  test('go that were used least recently, until the rest is within the budget', async () => {
    const images = open()
    download(images, 'a', 'b', 'c')
    ;(await images.use('a'))()
    await images.makeRoom()
    expect([...there.keys()]).toEqual(['a', 'c'])
    expect(images.stock().map(({ name, downloaded }) => [name, downloaded])).toEqual([
      ['a', true],
      ['c', true],
    ])
  })

  test('never go that somebody else brought, or put in the place of ours', async () => {
    const images = open(1)
    for (const name of ['theirs', 'ours']) there.set(name, imageOf(name))
    images.seen('theirs', there.get('theirs')!)
    images.downloaded('ours', there.get('ours')!)
    there.set('ours', imageOf('another'))
    await images.makeRoom()
    expect([...there.keys()]).toEqual(['theirs', 'ours'])
    expect(images.stock()).toMatchObject([{ name: 'theirs', downloaded: false }])
  })

  test('never go that are in use, or were just brought', async () => {
    const images = open(1)
    download(images, 'used', 'new')
    const end = await images.use('used')
    await images.makeRoom({ sparing: 'new' })
    expect([...there.keys()]).toEqual(['used', 'new'])
    end()
    await images.makeRoom({ sparing: 'new' })
    expect([...there.keys()]).toEqual(['new'])
  })

  test('stay that a container has which is not ours', async () => {
    const images = open(1)
    download(images, 'a')
    removal = () => Promise.reject(new EngineFault('answered', 'a container uses it', 409))
    await images.makeRoom()
    expect(images.stock()).toHaveLength(1)
  })

  test('are known as ours by the next process', async () => {
    download(open(), 'a', 'b', 'c')
    await open(5).makeRoom()
    expect([...there.keys()]).toEqual([])
  })

  test('go one after the other while room is short, however small the budget says they are', async () => {
    const images = open(1_000)
    download(images, 'a', 'b', 'c')
    await images.makeRoom({ isShort: () => Promise.resolve(there.size > 1) })
    expect([...there.keys()]).toEqual(['c'])
    await images.makeRoom({ isShort: () => Promise.resolve(true), sparing: 'c' })
    expect([...there.keys()]).toEqual(['c'])
  })

  test('are waited for by who would use one that is just being removed', async () => {
    const images = open(1)
    download(images, 'a')
    const { promise, resolve } = Promise.withResolvers<void>()
    removal = async (name) => {
      await promise
      there.delete(name)
    }
    const making = images.makeRoom()
    let inUse = false
    const using = images.use('a').then(() => (inUse = true))
    await new Promise(setImmediate)
    expect(inUse).toBe(false)
    resolve()
    await Promise.all([making, using])
    expect(there.has('a')).toBe(false)
  })
})
