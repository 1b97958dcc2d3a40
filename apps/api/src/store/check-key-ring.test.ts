import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSecrets } from '../secrets/secrets.ts'
import { checkKeyRing, OtherKeyRing } from './check-key-ring.ts'
import type { Database } from './database.ts'
import { testingDatabases } from './testing-databases.ts'

const key = (id: string, byte: number) => `${id}:${new Uint8Array(32).fill(byte).toBase64()}`

describe.each(testingDatabases)('the key ring on $name', ({ open }) => {
  let db: Database
  beforeAll(async () => {
    db = await open()
  })
  afterAll(() => db.close())

  it('is taken again, also behind a new key, and refused when it is another', async () => {
    await checkKeyRing(db, await createSecrets(key('a', 1)))
    await checkKeyRing(db, await createSecrets(key('a', 1)))
    await checkKeyRing(db, await createSecrets(`${key('b', 2)},${key('a', 1)}`))
    // The older key has done its part.
    await checkKeyRing(db, await createSecrets(key('b', 2)))
    for (const other of [key('a', 1), key('b', 3)])
      await expect(checkKeyRing(db, await createSecrets(other))).rejects.toThrow(OtherKeyRing)
  })
})
