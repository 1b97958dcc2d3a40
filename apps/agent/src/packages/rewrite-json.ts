/**
 * JSON with the text values of one key replaced, wherever it stands. Only its texts are looked at: a document of
 * many megabytes, made to be large in memory, is no more than those. What `replacement` gives undefined for stays.
 *
 * @throws {SyntaxError} where such a value is no JSON
 */
export function rewriteJson(
  json: string,
  key: string,
  replacement: (value: string) => string | undefined,
): string {
  const quotedKey = JSON.stringify(key)
  const parts: string[] = []
  let copied = 0
  let keyEnd: number | undefined
  for (const [start, end] of textsIn(json)) {
    if (keyEnd !== undefined && isColon(json, keyEnd, start)) {
      const replaced = replacement(JSON.parse(json.slice(start, end)) as string)
      if (replaced !== undefined) {
        parts.push(json.slice(copied, start), JSON.stringify(replaced))
        copied = end
      }
    }
    keyEnd = end - start === quotedKey.length && json.startsWith(quotedKey, start) ? end : undefined
  }
  parts.push(json.slice(copied))
  return parts.join('')
}

/** From each opening quote to behind the closing one. */
function* textsIn(json: string): Generator<[start: number, end: number]> {
  for (let start = json.indexOf('"'); start >= 0;) {
    let close = json.indexOf('"', start + 1)
    while (close >= 0 && isEscaped(json, close)) close = json.indexOf('"', close + 1)
    if (close < 0) return
    yield [start, close + 1]
    start = json.indexOf('"', close + 1)
  }
}

function isEscaped(json: string, quote: number): boolean {
  let backslashes = 0
  while (json[quote - 1 - backslashes] === '\\') backslashes += 1
  return backslashes % 2 === 1
}

/** A document has little space there, if any. */
function isColon(json: string, from: number, to: number): boolean {
  return to - from < 100 && json.slice(from, to).trim() === ':'
}
