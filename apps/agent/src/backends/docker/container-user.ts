import { maxUserId } from '@errand/shared'
import { Rejected } from '../backend.ts'
import type { ContainerUser } from './container-spec.ts'

/**
 * Whom the code of one run is run as: the executor's `user`, or one that the runs beside it don't have (the kernel counts
 * pipes, locked memory and more for each uid, in and out of containers alike).
 *
 * @throws {Rejected} for root, and for nobody that there can be
 */
export function containerUser(user: string | undefined, slot: number): ContainerUser {
  if (user === undefined) {
    const id = firstUid + (slot % uids)
    return { uid: id, gid: id }
  }
  const [uid, gid = uid] = user.split(':').map(Number) as [number, number?]
  if (uid === 0 || gid === 0) throw new Rejected(`user ${user} is refused: code never runs as root`)
  if (uid > maxUserId || gid > maxUserId)
    throw new Rejected(`user ${user} is refused: ids must not be above ${maxUserId}`)
  return { uid, gid }
}

/** Below those of localhost's slots; given to nobody by Debian or systemd, and there are so many where uids are mapped too. */
const firstUid = 60_578
const uids = 400
