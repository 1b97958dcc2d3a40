import type { Claim } from '../store/claim.ts'
import type { Submit } from '../store/submit.ts'
import type { Dispatch } from './dispatch.ts'

/**
 * A `Submit` that offers the execution a free slot of an agent that is connected here: where nothing waits it is
 * stored as assigned and needs no claim. What is not stored so waits, and agents are told.
 */
export function createSubmitToAgent(submit: Submit, dispatch: Pick<Dispatch, 'reserve' | 'kick'>): Submit {
  return async (item) => {
    const reserved = dispatch.reserve(item.id, item.queueId)
    let taken: Claim | undefined
    try {
      const submitted = await submit(reserved ? { ...item, offer: reserved.offer } : item)
      if (submitted.kind === 'stored') taken = submitted.claim
      return submitted
    } finally {
      // Also where it failed: it may be stored all the same.
      reserved?.settle(taken)
      if (taken === undefined) dispatch.kick(item.queueId)
    }
  }
}
