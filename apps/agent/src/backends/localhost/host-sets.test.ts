import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { agentPolicy } from '@errand/shared'
import { afterEach, expect, test } from 'vitest'
import type { NeededSet } from '../sets/needed-set.ts'
import { HostSets } from './host-sets.ts'
import { makePlaces, placesOf } from './places.ts'

const agentDir = mkdtempSync(join(tmpdir(), 'errand-host-sets-'))
const places = placesOf(agentDir, false)
afterEach(() => rmSync(agentDir, { recursive: true, force: true }))

test('a set that is being removed is not taken for whole, whatever of it is still there', async () => {
  makePlaces(places)
  const at = join(places.sets, 'one')
  mkdirSync(at)
  writeFileSync(join(at, 'file'), '')
  const hostSets = new HostSets({
    places,
    policy: agentPolicy.parse({}),
    uidOf: () => undefined,
    wrapperFor: async () => undefined,
    mark: () => ({}),
    killLeft: async () => {},
  })
  const removing = hostSets.remove({ at })
  expect(await hostSets.find({} as NeededSet, { at, bytes: 1 })).toBeUndefined()
  await removing
  expect(readdirSync(places.sets)).toEqual([])
  expect(await hostSets.remove({ at })).toBe(true)
  expect(existsSync(at)).toBe(false)
})
