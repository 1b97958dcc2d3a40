/** Half-open, in bytes. */
export interface ByteRange {
  start: number
  end: number
}

/**
 * The part of `total` bytes that a `Range` header asks for (RFC 9110): `unsatisfiable` is a 416; undefined means
 * the whole, also for what a server is to ignore: other units, several ranges, what can't be read.
 */
export function byteRange(
  header: string | undefined,
  total: number,
): ByteRange | 'unsatisfiable' | undefined {
  const [, first, last] = /^bytes=(\d{0,15})-(\d{0,15})$/i.exec(header?.trim() ?? '') ?? []
  if (first === undefined || last === undefined || first + last === '') return undefined
  if (first === '') {
    const suffix = Math.min(Number(last), total)
    return suffix === 0 ? 'unsatisfiable' : { start: total - suffix, end: total }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) return undefined
  if (start >= total) return 'unsatisfiable'
  return { start, end: last === '' ? total : Math.min(Number(last) + 1, total) }
}
