import { sizeLimits } from '@errand/shared'
import { Problem } from './problem.ts'

/** No body of ours needs more (the largest has 10,000 arguments, 1,000 files and 512 variables). */
const mostValues = 20_000

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const openBracket = 0x5b
const closeBracket = 0x5d
const openBrace = 0x7b
const closeBrace = 0x7d

/**
 * Refuses JSON that nests deeper than 32 or has more than 20,000 values, before the parser builds them: 16 MiB of
 * `[` or of `1,` would cost it a hundred times that. One pass over the bytes; strings are jumped over.
 */
export function checkJsonShape(bytes: Uint8Array): void {
  let depth = 0
  let values = 1
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]
    if (byte === quote) at = endOfString(bytes, at)
    else if (byte === openBrace || byte === openBracket) depth++
    else if (byte === closeBrace || byte === closeBracket) depth--
    else if (byte === comma) values++
    if (depth > sizeLimits.jsonDepth)
      throw refused(`The body nests deeper than ${sizeLimits.jsonDepth} levels.`)
    if (values > mostValues) throw refused(`The body has more than ${mostValues} values.`)
  }
}

/** The index of the quote that ends the string begun at `start`, or the end of the bytes when none does. */
function endOfString(bytes: Uint8Array, start: number): number {
  let end = start
  for (;;) {
    end = bytes.indexOf(quote, end + 1)
    if (end === -1) return bytes.length
    let escapes = 0
    while (bytes[end - 1 - escapes] === backslash) escapes++
    if (escapes % 2 === 0) return end
  }
}

function refused(detail: string): Problem {
  return new Problem('bad_json', detail, { errors: [{ pointer: '', detail }] })
}
