import { signedHello, type AgentMessage } from '@errand/shared'

type Hello = Extract<AgentMessage, { type: 'hello' }>

/** Whether the hello was signed, for this server and nonce, with the private half of `publicKey` (raw, base64). */
export async function provesAgent(
  hello: Hello,
  publicKey: string,
  nonce: string,
  serverId: string,
): Promise<boolean> {
  try {
    const key = await crypto.subtle.importKey('raw', Uint8Array.fromBase64(publicKey), 'Ed25519', false, [
      'verify',
    ])
    const signed = signedHello({
      nonce,
      server_id: serverId,
      agent_id: hello.agent_id,
      protocol: hello.protocol,
    })
    return await crypto.subtle.verify('Ed25519', key, Uint8Array.fromBase64(hello.signature), signed)
  } catch {
    // Not base64, or no key: what cannot be checked is not proved.
    return false
  }
}
