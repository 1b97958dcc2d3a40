import { randomBytes } from 'node:crypto'

/** For `DATA_DIR/admin-key`. */
export function newAdminKey(): string {
  return `errand_admin_${randomBytes(32).toString('base64url')}`
}

/** A ring of one key, for `DATA_DIR/secret-key`: `id:base64`. */
export function newSecretKey(): string {
  return `${randomBytes(4).toString('hex')}:${randomBytes(32).toString('base64')}`
}
