/**
 * What `read` answers, for all who ask within `everyMs` of its end, and within ten times as long as it took: however
 * much there is to read and however many ask, it takes no more than a tenth of the time. Failures are not kept.
 */
export function readSeldom<T>(read: () => Promise<T>, everyMs: number): () => Promise<T> {
  let known: { value: Promise<T>; until: number } | undefined

  return () => {
    if (known && performance.now() < known.until) return known.value
    const begun = performance.now()
    const mine = { value: read(), until: Infinity }
    known = mine
    mine.value.then(
      () => {
        const ended = performance.now()
        mine.until = ended + Math.max(everyMs, 10 * (ended - begun))
      },
      () => {
        if (known === mine) known = undefined
      },
    )
    return mine.value
  }
}
