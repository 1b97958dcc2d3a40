import { slotClassOf, type ApiMessage } from '@errand/shared'
import type { Secrets } from '../secrets/secrets.ts'
import type { Claim } from '../store/claim.ts'
import type { ConfigOf } from './config-of.ts'

export type Assign = Extract<ApiMessage, { type: 'assign' }>

/**
 * Makes the message that hands a claim to its agent: the executor's settings with their secrets, and the submission
 * or the token to fetch it with.
 */
export function createAssignmentOf(configOf: ConfigOf, secrets: Secrets): (claim: Claim) => Promise<Assign> {
  return async function assignmentOf({ id, fence, execution, request, requestBytes, requestSha256 }) {
    const { executor_type, name, config_id, source, settings } = await configOf(execution.config_id)
    return {
      type: 'assign',
      job: {
        id,
        fence,
        type: execution.type,
        slot_class: execution.type === 'code.execute' ? slotClassOf(executor_type) : 'maintenance',
        attempt: execution.attempt,
        submitted_at_ms: execution.created_at.getTime(),
        attempts_left: execution.attempt + 1 < execution.max_attempts,
        executor: { executor_type, name, config_id, source, settings },
        runtime: execution.runtime,
        limits: execution.limits,
        required_limits: execution.required_limits,
        ...(request !== null
          ? { request }
          : {
              input: {
                token: await secrets.workToken(id, fence),
                bytes: requestBytes,
                sha256: requestSha256,
              },
            }),
      },
    }
  }
}
