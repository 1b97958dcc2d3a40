import { CannotOpen, type Secrets } from '../secrets/secrets.ts'
import type { Database } from './database.ts'

/** This process's key ring cannot open what the database holds: ERRAND_SECRET_KEY is not the installation's. */
export class OtherKeyRing extends Error {
  override readonly name = 'OtherKeyRing'
}

const place = 'control.key_check'

/**
 * Leaves a sealed text at the first start and opens it at each later one, so that a replica with another key ring
 * does not serve secrets and tokens that no other can read.
 *
 * @throws {OtherKeyRing}
 */
export async function checkKeyRing(db: Database, secrets: Secrets): Promise<void> {
  const { key_id, iv, ciphertext } = await secrets.seal(place, 'errand')
  const own = JSON.stringify({ key_id, iv: iv.toBase64(), ciphertext: ciphertext.toBase64() })
  const [row] = await db.query<{ key_check: { key_id: string; iv: string; ciphertext: string } }>(
    'update control set key_check = coalesce(key_check, $1::text::jsonb) returning key_check',
    [own],
  )
  const { key_check } = row!
  try {
    await secrets.open(place, {
      key_id: key_check.key_id,
      iv: Uint8Array.fromBase64(key_check.iv),
      ciphertext: Uint8Array.fromBase64(key_check.ciphertext),
    })
  } catch (error) {
    if (!(error instanceof CannotOpen)) throw error
    throw new OtherKeyRing(
      "ERRAND_SECRET_KEY (or the data directory's secret-key) is not the one that this database was set up with",
    )
  } // After a rotation the older key may leave the ring.
  if (key_check.key_id !== key_id) await db.query('update control set key_check = $1::text::jsonb', [own])
}
