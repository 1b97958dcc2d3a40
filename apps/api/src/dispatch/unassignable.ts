import { emptyResult } from '@errand/shared'
import type { FinishItem } from '../store/finish.ts'

/** The result of a claim that cannot be sent to its agent, such as when its secrets cannot be opened any more. */
export function unassignable(hostname: string): Pick<FinishItem, 'result' | 'inlineStdout' | 'inlineStderr'> {
  const error =
    'the configuration or the secrets of its executor cannot be read; was ERRAND_SECRET_KEY changed?'
  return {
    result: { ...emptyResult(hostname), outcome: 'infra_error', error },
    inlineStdout: new Uint8Array(),
    inlineStderr: new Uint8Array(),
  }
}
