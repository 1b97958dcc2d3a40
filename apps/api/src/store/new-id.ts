/**
 * A UUID of version 7: ids made later by this process sort later, also within a millisecond (its 4096th parts follow
 * the time, RFC 9562 6.2 method 3). So of two submissions the earlier is claimed first, and indexes grow at their end.
 */
export function newId(nowMs = performance.timeOrigin + performance.now()): string {
  const ms = Math.floor(nowMs)
  const time = ms.toString(16).padStart(12, '0')
  const part = Math.floor((nowMs - ms) * 4096)
    .toString(16)
    .padStart(3, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${part}${crypto.randomUUID().slice(18)}`
}
