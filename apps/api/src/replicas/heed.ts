import type { Dispatch } from '../dispatch/dispatch.ts'
import type { Live } from '../live/live.ts'
import type { Log } from '../log.ts'
import type { Database } from '../store/database.ts'
import { unansweredCancels } from '../store/unanswered-cancels.ts'
import type { createAskAnywhere } from './ask-anywhere.ts'
import type { Hint } from './hint.ts'
import { lookAtAgents } from './look-at-agents.ts'

export interface HeedParts {
  db: Database
  /** What does not tell others: a hint must not come back. */
  live: Live
  dispatch: Dispatch
  askAnywhere: Pick<ReturnType<typeof createAskAnywhere>, 'question' | 'answer'>
  log: Log
}

/** Does here what another replica has hinted at. What fails is done by the next poll. */
export function createHeed({ db, live, dispatch, askAnywhere, log }: HeedParts): (hint: Hint) => void {
  return (hint) =>
    void heed(hint)?.catch((error: unknown) =>
      log.warn({ err: error, hint: hint.type }, 'could not heed another replica'),
    )

  function heed(hint: Hint): Promise<void> | undefined | void {
    switch (hint.type) {
      case 'job':
        return live.publish(hint.id, { type: 'elsewhere', event: hint.event })
      case 'work':
        return dispatch.kick(hint.queue_id)
      case 'queues':
        return dispatch.poll()
      case 'freed':
        return dispatch.freed(hint.queue_id)
      case 'cancel':
        return dispatch.cancel(hint.agent_id, hint.id, hint.fence)
      case 'agent':
        return lookAtAgents(db, dispatch, (id) => id === hint.agent_id)
      case 'question':
        return askAnywhere.question(hint)
      case 'answer':
        return askAnywhere.answer(hint)
      case 'all':
        return lookAtAll()
    }
  }

  async function lookAtAll(): Promise<void> {
    live.publishToAll({ type: 'elsewhere', event: 'final' })
    await lookAtAgents(db, dispatch)
    await dispatch.poll()
    for (const { agentId, id, fence } of await unansweredCancels(db, { olderThanMs: 0 }))
      dispatch.cancel(agentId, id, fence)
  }
}
