import type { JobProgress, Stream } from '@errand/shared'
import type { ExecutionRow } from '../store/execution-row.ts'

/** What happened to an execution, told only after its commit: whoever reads the store then finds it there. */
type Published =
  | { type: 'status'; execution: ExecutionRow }
  | { type: 'output'; attempt: number; fence: number; stream: Stream; offset: number; bytes: Uint8Array }
  /** Of a maintenance job. */
  | { type: 'progress'; progress: JobProgress }
  | { type: 'final'; execution: ExecutionRow }

/** Also what another replica has published: the store says what it was. */
export type LiveEvent = Published | { type: 'elsewhere'; event: Published['type'] }

export type Listener = (event: LiveEvent) => void

/**
 * Carries events from ingest to the requests that wait for them, within this replica. A hint: events of other
 * replicas come late, without what they were about, or not at all, so whoever listens also polls (`time.pollEveryMs`).
 * Keeps nothing.
 */
export interface Live {
  /** Calls `listener` for each event of this execution from now on, until the answered function is called. */
  subscribe(id: string, listener: Listener): () => void
  /** Costs one map look-up when nobody listens. Listeners must not throw, and not block. */
  publish(id: string, event: LiveEvent): void
  /** The same to every listener of every execution. */
  publishToAll(event: LiveEvent): void
  /** Told of each change that this replica has stored, once. */
  changed(execution: ExecutionRow): void
  /** How many listeners there are, for tests of what is left behind. */
  readonly listeners: number
}

export function createLive(changed: Live['changed'] = () => {}): Live {
  const listenersOf = new Map<string, Set<Listener>>()
  return {
    changed,
    subscribe(id, listener) {
      const listeners = listenersOf.get(id) ?? new Set()
      listenersOf.set(id, listeners.add(listener))
      return () => {
        listeners.delete(listener)
        if (listeners.size === 0 && listenersOf.get(id) === listeners) listenersOf.delete(id)
      }
    },
    publish(id, event) {
      for (const listener of listenersOf.get(id) ?? []) listener(event)
    },
    publishToAll(event) {
      for (const listeners of listenersOf.values()) for (const listener of listeners) listener(event)
    },
    get listeners() {
      return [...listenersOf.values()].reduce((sum, listeners) => sum + listeners.size, 0)
    },
  }
}
