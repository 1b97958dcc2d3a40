import { describe, expect, it } from 'vitest'
import { MalformedRing, newKeyRing } from './key-ring.ts'
import { CannotOpen, createSecrets } from './secrets.ts'

const key = (fill: number) => new Uint8Array(32).fill(fill).toBase64()

describe('createSecrets', () => {
  it('opens what it sealed, and never seals twice alike', async () => {
    const secrets = await createSecrets(newKeyRing())
    const one = await secrets.seal('here', 'pässword\0')
    expect(await secrets.open('here', one)).toBe('pässword\0')
    const other = await secrets.seal('here', 'pässword\0')
    expect(other.iv).not.toEqual(one.iv)
    expect(other.ciphertext).not.toEqual(one.ciphertext)
    expect(new TextDecoder().decode(one.ciphertext)).not.toContain('ssword')
  })

  it('opens nothing that was moved, changed, or sealed by another key', async () => {
    const secrets = await createSecrets(`a:${key(1)}`)
    const sealed = await secrets.seal('here', 'x')
    await expect(secrets.open('there', sealed)).rejects.toThrow(CannotOpen)
    const changed = sealed.ciphertext.with(0, sealed.ciphertext[0]! ^ 1)
    await expect(secrets.open('here', { ...sealed, ciphertext: changed })).rejects.toThrow(CannotOpen)
    await expect((await createSecrets(`a:${key(2)}`)).open('here', sealed)).rejects.toThrow(CannotOpen)
    await expect((await createSecrets(`b:${key(1)}`)).open('here', sealed)).rejects.toThrow(CannotOpen)
  })

  it('seals with the first key of the ring and opens with any', async () => {
    const old = await (await createSecrets(`a:${key(1)}`)).seal('here', 'x')
    const rotated = await createSecrets(`b:${key(2)}, a:${key(1)}`)
    expect(await rotated.open('here', old)).toBe('x')
    expect((await rotated.seal('here', 'x')).key_id).toBe('b')
  })

  it.each([
    '',
    'x',
    `a:${key(1).slice(4)}`,
    'a:!!!',
    `a b:${key(1)}`,
    `a:${key(1)},a:${key(2)}`,
    `a:${key(1)},`,
  ])('refuses the ring %j without showing it', async (ring) => {
    const error = await createSecrets(ring).then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(error).toBeInstanceOf(MalformedRing)
    expect(String(error)).not.toContain(key(1).slice(0, 8))
  })

  it('makes tokens that are good for one claim of one execution', async () => {
    const secrets = await createSecrets(`a:${key(1)}`)
    const id = crypto.randomUUID()
    const token = await secrets.workToken(id, 42)
    expect(await secrets.verifyWorkToken(id, token)).toEqual({ fence: 42 })
    for (const forged of [
      '',
      token.replace('42', '43'),
      `${token}A`,
      token.slice(0, -1),
      `42.${'!'.repeat(43)}`,
      `42.${'A'.repeat(43)}`,
    ])
      expect(await secrets.verifyWorkToken(id, forged)).toBeUndefined()
    expect(await secrets.verifyWorkToken(crypto.randomUUID(), token)).toBeUndefined()
    const rotated = await createSecrets(`b:${key(2)},a:${key(1)}`)
    expect(await rotated.verifyWorkToken(id, token)).toEqual({ fence: 42 })
    expect(await (await createSecrets(`a:${key(2)}`)).verifyWorkToken(id, token)).toBeUndefined()
  })
})
