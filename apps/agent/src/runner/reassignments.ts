import type { ApiMessage, Assignment } from '@errand/shared'
import { claimKey } from '../claim.ts'
import type { Claim } from '../claim.ts'
import type { Sender } from '../delivery/delivery.ts'

interface Awaited extends Claim {
  resolve: (assignment: Assignment | null) => void
}

/**
 * The assignments that an agent which died took with it, as secrets are never spooled: asked for in each session until
 * there is an answer.
 */
export class Reassignments {
  readonly #awaited = new Map<string, Awaited>()
  #sender: Sender | undefined

  /** Settles when the API has answered, in whichever session; null: there is none, or `giveUp` came first. */
  of({ id, fence }: Claim): Promise<Assignment | null> {
    const { promise, resolve } = Promise.withResolvers<Assignment | null>()
    const awaited = { id, fence, resolve }
    this.#awaited.set(claimKey(awaited), awaited)
    if (this.#sender) ask(this.#sender, awaited)
    return promise
  }

  /** Nobody wants it any more. */
  giveUp(claim: Claim): void {
    this.#settle(claim, null)
  }

  /** A session is reconciled. */
  attach(sender: Sender): void {
    this.#sender = sender
    for (const one of this.#awaited.values()) ask(sender, one)
  }

  detach(): void {
    this.#sender = undefined
  }

  answered({ id, fence, job }: Extract<ApiMessage, { type: 'reassigned' }>): void {
    this.#settle({ id, fence }, job)
  }

  #settle(claim: Claim, assignment: Assignment | null): void {
    const key = claimKey(claim)
    this.#awaited.get(key)?.resolve(assignment)
    this.#awaited.delete(key)
  }
}

function ask(sender: Sender, { id, fence }: Claim): void {
  sender.send({ type: 'reassign', id, fence })
}
