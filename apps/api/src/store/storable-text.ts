/**
 * Text as PostgreSQL can hold it: what comes from agents may have NUL or half a surrogate pair in it, which would
 * fail the whole statement (and the batch with it).
 */
export function storableText(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\uFFFD')
}

/** The same for every string inside a JSON value. */
export function storableJson<Value>(value: Value): Value {
  const json = JSON.stringify(value)
  if (!escapedUnstorable.test(json)) return value
  return JSON.parse(json, (_key, inner: unknown) =>
    typeof inner === 'string' ? storableText(inner) : inner,
  ) as Value
}

/** How JSON spells NUL and half a surrogate pair. (A backslash in a text may look so too, which only costs the longer way.) */
const escapedUnstorable = /\\u(0000|d[89a-f])/
