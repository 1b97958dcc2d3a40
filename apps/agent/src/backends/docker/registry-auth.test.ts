import { parseImageReference } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { registryAuth, withoutAuth } from './registry-auth.ts'

const given = { username: 'me', password: 's3cret?>' }

describe('registryAuth', () => {
  it.each([
    ['one', 'https://index.docker.io/v1/'],
    ['index.docker.io/team/one', 'https://index.docker.io/v1/'],
    ['example.org:5000/one', 'example.org:5000'],
    ['localhost/one', 'localhost'],
  ])('is for the registry of %s: %s', (image, serveraddress) => {
    expect(registryAuth(parseImageReference(image)!, given)).toEqual({ ...given, serveraddress })
  })
})

describe('withoutAuth', () => {
  it('leaves out the password, however a registry was sent it', () => {
    const auth = registryAuth(parseImageReference('one')!, given)
    const header = Buffer.from('me:s3cret?>').toString('base64')
    const said = `no ${header}, ${header.replace('=', '')}, s3cret?> for me: s3cret?>`
    expect(withoutAuth(said, auth)).toBe('no ***, ***, *** for me: ***')
  })
})
