import { isFinal, legalMoves, type Status } from '@errand/shared'
import type { History, Observation, Record, State } from './history.ts'

/** What is wrong with a history, each a line for a reader; all but `recovered` must be empty. */
export interface Findings {
  /** Acknowledged, and not there or not final in the end. */
  lost: string[]
  /** There, and never submitted. */
  unexpected: string[]
  /** Twice there, two ids for one key, or more starts than attempts. */
  duplicated: string[]
  /** A final state that was read and is another now. */
  changed: string[]
  /** A client saw a status after one that it cannot follow. */
  backwards: string[]
  /** Not acknowledged, and there all the same: allowed, as the answer was lost. */
  recovered: string[]
}

type Submit = Extract<Observation, { kind: 'submit' }>
type Read = Extract<Observation, { kind: 'read' }>

/**
 * Judges a history as Jepsen's set checker does: what was acknowledged must be there, nothing else may be but what was
 * submitted with an unknown answer, and nothing twice. Knows nothing of Errand but what its callers see.
 */
export function checkHistory({ observations, starts, records }: History): Findings {
  const submits = Map.groupBy(
    observations.filter((one): one is Submit => one.kind === 'submit'),
    ({ key }) => key,
  )
  const reads = observations.filter((one): one is Read => one.kind === 'read')
  const byKey = Map.groupBy(records, ({ key }) => key)
  const byId = new Map(records.map((one) => [one.id, one]))
  return {
    lost: [...submits].flatMap(([key, all]) => lostOf(key, all, byId)),
    unexpected: records
      .filter(({ key }) => (submits.get(key) ?? []).every(({ answer }) => answer === 'refused'))
      .map(({ id, key }) => `${id} (${key})`),
    duplicated: [
      ...[...byKey]
        .filter(([, all]) => all.length > 1)
        .map(([key, all]) => `${key} is there ${all.length} times`),
      ...[...submits].flatMap(([key, all]) => severalIds(key, all)),
      ...severalStarts(starts, submits),
    ],
    changed: reads.filter((one) => isChanged(one, byId.get(one.id))).map(describeRead),
    backwards: backwardsOf(reads, attemptsOf(submits)),
    recovered: [...submits]
      .filter(([key, all]) => byKey.has(key) && acknowledged(all).length === 0)
      .filter(([, all]) => all.some(({ answer }) => answer === 'unknown'))
      .map(([key]) => key),
  }
}

function acknowledged(submits: readonly Submit[]): string[] {
  return submits.flatMap(({ answer }) => (typeof answer === 'object' ? [answer.id] : []))
}

function lostOf(key: string, submits: readonly Submit[], byId: ReadonlyMap<string, Record>): string[] {
  return [...new Set(acknowledged(submits))].flatMap((id) => {
    const record = byId.get(id)
    if (record?.key === key && isFinal(record.status)) return []
    return [`${id} (${key}) ${record ? `is ${record.status} of ${record.key}` : 'is not there'}`]
  })
}

function severalIds(key: string, submits: readonly Submit[]): string[] {
  const ids = new Set(acknowledged(submits))
  return ids.size > 1 ? [`${key} was answered with ${[...ids].join(' and ')}`] : []
}

function severalStarts(starts: History['starts'], submits: ReadonlyMap<string, Submit[]>): string[] {
  return [...Map.groupBy(starts, ({ key }) => key)]
    .filter(([key, all]) => all.length > (submits.get(key)?.[0]?.attempts ?? 0))
    .map(
      ([key, all]) => `${key} was started ${all.length} times: pids ${all.map(({ pid }) => pid).join(' ')}`,
    )
}

function isChanged({ state }: Read, now: Record | undefined): boolean {
  if (!isFinal(state.status)) return false
  return now?.status !== state.status || now.outcome !== state.outcome || now.attempt !== state.attempt
}

function attemptsOf(submits: ReadonlyMap<string, Submit[]>): ReadonlyMap<string, number> {
  return new Map(
    [...submits.values()].flatMap((all) => acknowledged(all).map((id) => [id, all[0]!.attempts])),
  )
}

function backwardsOf(reads: readonly Read[], attempts: ReadonlyMap<string, number>): string[] {
  const last = new Map<string, State>()
  return reads.flatMap((read) => {
    const seen = `${read.client} ${read.id}`
    const before = last.get(seen)
    last.set(seen, read.state)
    if (before === undefined || follows(before, read.state, attempts.get(read.id) ?? 1)) return []
    return [`${describeRead(read)} after ${before.status}, attempt ${before.attempt}`]
  })
}

/** Whether a status may come after another, with any number of others between that nobody saw. */
function follows(before: State, after: State, attempts: number): boolean {
  if (after.attempt < before.attempt) return false
  // What may start once cannot begin again once it runs.
  const onceOnly = attempts === 1 && before.status === 'running'
  const moves: { [From in Status]: readonly Status[] } = onceOnly
    ? { ...legalMoves, retrying: [] }
    : legalMoves
  if (onceOnly && after.status === 'retrying') return false
  const reachable = new Set<Status>([before.status])
  for (const one of reachable) for (const next of moves[one]) reachable.add(next)
  return reachable.has(after.status)
}

function describeRead({ client, id, state }: Read): string {
  return `${client} read ${id} as ${state.status} ${state.outcome ?? ''}, attempt ${state.attempt}`
}
