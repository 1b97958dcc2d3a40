import { crashPoint, hasCrashPoint } from '@errand/host/crash-point'
import { decodeFrame, type ApiMessage } from '@errand/shared'
import type { AgentSocket } from '../socket/agent-socket.ts'
import type { Submit } from '../store/submit.ts'

/** Where tests let the API die: something is committed, and nobody has been told. */
export type CrashPoint =
  | 'inserted_before_response'
  | 'claimed_before_send'
  | 'chunk_committed_before_ack'
  | 'completed_before_ack'
  | 'cancel_committed_before_send'

/** What is about to be said of it. */
const beforeMessage: Partial<Record<ApiMessage['type'], CrashPoint>> = {
  assign: 'claimed_before_send',
  output_stored: 'chunk_committed_before_ack',
  finished: 'completed_before_ack',
  cancel: 'cancel_committed_before_send',
}

/** The socket itself, unless tests want a death. */
export function socketWithCrashPoints(socket: AgentSocket): AgentSocket {
  if (!hasCrashPoint) return socket
  const send = (frame: string | Uint8Array<ArrayBuffer>): void => {
    const point = beforeMessage[(decodeFrame(frame).message as ApiMessage).type]
    if (point) crashPoint(point)
    socket.send(frame)
  }
  // Its members are bound to nothing, and one is read anew each time.
  return Object.create(socket, { send: { value: send } }) as AgentSocket
}

/** The submit itself, unless tests want a death. */
export function submitWithCrashPoint(submit: Submit): Submit {
  if (!hasCrashPoint) return submit
  return async (item) => {
    const submitted = await submit(item)
    crashPoint('inserted_before_response' satisfies CrashPoint)
    return submitted
  }
}
