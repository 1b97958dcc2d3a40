import { Hono } from 'hono'
import { type enrolled, enrollment } from '@errand/shared'
import type { z } from 'zod'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { Problem } from '../http/problem.ts'
import { invalid, validBody } from '../http/validate.ts'
import { audit } from '../store/audit.ts'
import { enroll } from '../store/enrollment-tokens.ts'

/** Whoever has no key yet may not make us hold much. Bytes. */
const keylessBody = 16 * 1024

/** `POST /agents/enroll`: keyless, proved by a single-use token. */
export function enrollRoute({ db, serverId }: Pick<Parts, 'db' | 'serverId'>) {
  return new Hono<AppEnv>().post('/agents/enroll', async (c) => {
    const { token, name, public_key } = await validBody(c, enrollment, keylessBody)
    if (Uint8Array.fromBase64(public_key).length !== 32)
      throw invalid([{ pointer: '/public_key', detail: 'must be 32 bytes in base64' }])
    const agent = await enroll(db, { token, name, publicKey: public_key })
    if (agent === 'refused')
      throw new Problem('unauthenticated', 'This token is unknown, used, expired, or for another name.')
    if (agent === 'name_taken')
      throw new Problem('name_taken', `There is an agent ${name} already.`, {
        errors: [{ pointer: '/name', detail: 'is taken' }],
      })
    await audit(db, { actor: `agent ${agent.name}`, action: 'agent.enroll', target: agent.agentId })
    return c.json(
      { agent_id: agent.agentId, name: agent.name, server_id: serverId } satisfies z.infer<typeof enrolled>,
      201,
    )
  })
}
