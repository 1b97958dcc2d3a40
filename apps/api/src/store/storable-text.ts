/**
 * Text as PostgreSQL can hold it: what comes from agents may have NUL or half a surrogate pair in it, which would
 * fail the whole statement (and the batch with it).
 */
export function storableText(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\uFFFD')
}

/** The same for every string inside a JSON value. */
export function storableJson<Value>(value: Value): Value {
  return JSON.parse(JSON.stringify(value), (_key, inner: unknown) =>
    typeof inner === 'string' ? storableText(inner) : inner,
  ) as Value
}
