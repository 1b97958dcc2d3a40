import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { readOrCreateSecret } from '@errand/host/secret-file'
import { enrolled } from '@errand/shared'
import type { z } from 'zod'

/** What enrolment answered, kept in `identity.json`. */
export type Enrolled = z.infer<typeof enrolled>

/** Ed25519, made on this host; the private half never leaves it. */
export interface AgentKey {
  /** Raw 32 bytes, base64. */
  publicKey: string
  /** Base64 signature. */
  sign(bytes: Uint8Array): string
}

/** The agent's key pair in `agentDir/private-key.pem` (0600), made and synced to disk where there is none. */
export function readOrCreateKey(agentDir: string): AgentKey {
  const pem = readOrCreateSecret(join(agentDir, 'private-key.pem'), () =>
    generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }),
  )
  const privateKey = createPrivateKey(pem)
  // The last 32 bytes of an Ed25519 SubjectPublicKeyInfo are the key.
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' })
  return {
    publicKey: spki.subarray(-32).toString('base64'),
    sign: (bytes) => sign(null, bytes, privateKey).toString('base64'),
  }
}

/** Who this agent is; undefined before it was enrolled. */
export function readIdentity(agentDir: string): Enrolled | undefined {
  const path = join(agentDir, 'identity.json')
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  const parsed = enrolled.safeParse(parseJson(text))
  if (!parsed.success) throw new Error(`${path} is damaged: delete it and enrol again with a new token`)
  return parsed.data
}

export function writeIdentity(agentDir: string, identity: Enrolled): void {
  const path = join(agentDir, 'identity.json')
  const fd = openSync(`${path}.new`, 'w', 0o600)
  try {
    writeSync(fd, `${JSON.stringify(identity, null, 2)}\n`)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(`${path}.new`, path)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
