import { closeCode } from '@errand/shared'
import type { Dispatch } from '../dispatch/dispatch.ts'
import { listSessions } from '../store/sessions.ts'
import type { Database } from '../store/database.ts'

/** Does what other replicas have stored about agents that are connected here: revokes, newer sessions, labels. */
export async function lookAtAgents(
  db: Database,
  dispatch: Pick<Dispatch, 'links' | 'revoke' | 'setLabels'>,
  which: (agentId: string) => boolean = () => true,
): Promise<void> {
  const links = new Map(dispatch.links().map((link) => [link.agentId, link]))
  const ids = [...links.keys()].filter(which)
  if (ids.length === 0) return
  for (const { id, epoch, labels, revoked } of await listSessions(db, ids)) {
    if (revoked) dispatch.revoke(id)
    // One that has connected here since then is not meant by it.
    else if (epoch > links.get(id)!.epoch)
      links.get(id)!.close(closeCode.replaced, 'a newer session has taken over')
    else dispatch.setLabels(id, labels)
  }
}
