import type { Dispatch } from '../dispatch/dispatch.ts'
import type { Live } from '../live/live.ts'
import type { Others } from './others.ts'

/** A `Live` that publishes to the other replicas, too. */
export function tellingLive(live: Live, others: Pick<Others, 'tell'>): Live {
  return {
    changed: (execution) => live.changed(execution),
    subscribe: (id, listener) => live.subscribe(id, listener),
    publish(id, event) {
      live.publish(id, event)
      if (event.type !== 'elsewhere') others.tell({ type: 'job', id, event: event.type })
    },
    publishToAll: (event) => live.publishToAll(event),
    get listeners() {
      return live.listeners
    },
  }
}

/** A `Dispatch` whose agents may be connected to other replicas. */
export function tellingDispatch(dispatch: Dispatch, others: Pick<Others, 'tell'>): Dispatch {
  return {
    ...dispatch,
    join(link) {
      dispatch.join(link)
      others.tell({ type: 'agent', agent_id: link.agentId })
    },
    kick(queueId) {
      dispatch.kick(queueId)
      others.tell({ type: 'work', queue_id: queueId })
    },
    freed(queueId) {
      dispatch.freed(queueId)
      others.tell({ type: 'freed', queue_id: queueId })
    },
    async poll() {
      others.tell({ type: 'queues' })
      await dispatch.poll()
    },
    cancel(agentId, id, fence) {
      if (dispatch.linkOf(agentId)) dispatch.cancel(agentId, id, fence)
      else others.tell({ type: 'cancel', agent_id: agentId, id, fence })
    },
    setLabels(agentId, labels) {
      dispatch.setLabels(agentId, labels)
      others.tell({ type: 'agent', agent_id: agentId })
    },
    revoke(agentId) {
      dispatch.revoke(agentId)
      others.tell({ type: 'agent', agent_id: agentId })
    },
  }
}
