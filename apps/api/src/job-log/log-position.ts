/**
 * How much of a job's log somebody has: enough to go on exactly there, on any replica and while it grows. By source: a
 * claim (whose fence no other job has), or a job itself for what is known of it apart from its claims.
 */
export type LogPosition = ReadonlyMap<Source, Reached>

/** `c` and a fence in base 36, or `j` and the end of a job's id. */
export type Source = `c${string}` | `j${string}`

export interface Reached {
  /** Bytes of what its agent wrote. */
  offset: number
  /** The sum of those of our own lines that were told. */
  told: number
}

export const claimSource = (fence: number): Source => `c${fence.toString(36)}`
export const jobSource = (id: string): Source => `j${id.slice(-12)}`

/** The position after a line. */
export function beyond(
  position: LogPosition,
  source: Source,
  line: { end?: number | undefined; told?: number | undefined },
): LogPosition {
  const before = position.get(source) ?? { offset: 0, told: 0 }
  return new Map(position).set(source, {
    offset: line.end ?? before.offset,
    told: before.told | (line.told ?? 0),
  })
}

/** As text that fits into a URL and a header: `SOURCE.OFFSET.TOLD_SOURCE.OFFSET.TOLD`, numbers in base 36. */
export function positionText(position: LogPosition): string {
  return [...position]
    .map(([source, { offset, told }]) => `${source}.${offset.toString(36)}.${told.toString(36)}`)
    .join('_')
}

/** Undefined for what is no position. */
export function positionOfText(text: string): LogPosition | undefined {
  if (text === '') return new Map()
  const entries = text.split('_').map((entry) => {
    const [, source, offset, told] =
      /^(c[0-9a-z]{1,11}|j[0-9a-f]{12})\.([0-9a-z]{1,10})\.([0-9a-z])$/.exec(entry) ?? []
    if (source === undefined) return undefined
    return [source as Source, { offset: parseInt(offset!, 36), told: parseInt(told!, 36) }] as const
  })
  return entries.every((entry) => entry !== undefined) ? new Map(entries) : undefined
}

/** By fence, how far the logs of claims were read. */
export function offsetsOf(position: LogPosition): ReadonlyMap<number, number> {
  const claims = [...position].filter(([source]) => source.startsWith('c'))
  return new Map(claims.map(([source, { offset }]) => [parseInt(source.slice(1), 36), offset]))
}
