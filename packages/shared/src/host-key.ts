import { z } from 'zod'
import { name, plainText } from './text.ts'

/** A line of an OpenSSH public key, with or without a comment. */
export const hostKeyLine = plainText(16_384).refine(
  (line) =>
    /^(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( .*)?$/.test(line) && isBase64(line.split(' ')[1]!),
  'must be an OpenSSH public key line',
)

function isBase64(text: string): boolean {
  try {
    Uint8Array.fromBase64(text)
    return true
  } catch {
    return false
  }
}

/** As `ssh-keygen -l` prints it. */
export const hostKeySha256 = z
  .string()
  .regex(/^SHA256:[A-Za-z0-9+/]{43}$/, 'must be SHA256: and 43 base64 characters')

export const hostKey = z.strictObject({
  /** `ssh-ed25519`; null where only the fingerprint is stored. */
  key_type: z.string().nullable(),
  sha256: hostKeySha256,
  /** The line that `host_key` takes. */
  host_key: hostKeyLine.nullable(),
})
export type HostKey = z.infer<typeof hostKey>

/** The key that a line holds. */
export async function readHostKey(line: string): Promise<HostKey> {
  const [key_type, base64] = line.split(' ') as [string, string]
  const digest = await crypto.subtle.digest('SHA-256', Uint8Array.fromBase64(base64))
  const sha256 = new Uint8Array(digest).toBase64({ omitPadding: true })
  return { key_type, sha256: `SHA256:${sha256}`, host_key: `${key_type} ${base64}` }
}

/**
 * The body of `POST /executors/{name}/host-key`, which may be left out: then nothing changes. `confirm` is the
 * fingerprint to store, of a key that the target presents at that moment. Secrets go along as in a PATCH: those
 * that were stored for another key are not kept.
 */
export const hostKeyRequest = z
  .strictObject({
    confirm: hostKeySha256.optional(),
    enabled: z.boolean().optional(),
    password: plainText(8_192).optional(),
    private_key: plainText(65_536).optional(),
    passphrase: plainText(8_192).optional(),
  })
  .superRefine(({ confirm, ...others }, context) => {
    for (const field of Object.keys(others))
      if (confirm === undefined) context.addIssue({ code: 'custom', path: [field], message: 'needs confirm' })
  })

/** What it answers without `confirm`; with it, the executor. */
export const hostKeys = z.strictObject({
  host: z.string(),
  port: z.int(),
  stored: z.array(hostKey),
  /** Why there was no agent to ask; then `agents` is empty. */
  reason: z.string().nullable(),
  /** What each agent that would connect there sees; `error` in words where it sees nothing. */
  agents: z.array(
    z.strictObject({ agent_id: z.uuid(), agent: name, keys: z.array(hostKey), error: z.string().nullable() }),
  ),
})
export type HostKeys = z.infer<typeof hostKeys>
