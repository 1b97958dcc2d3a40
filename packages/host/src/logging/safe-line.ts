/**
 * The keys whose values never reach a log, at any depth: secrets, users' code, input and output, and what
 * libraries put on their errors. Matches a key as it stands in JSON, quotes and colon included, so that one
 * search over the line tells whether there is anything to do.
 */
const withheldKey =
  /(?:password|passphrase|token|secret|key|authorization|cookie)":|"(?:code|files|stdin|stdout|stderr|env|content|content_?base64|registry_?auth|args|query|params|parameters|detail|where|command|escapedCommand|shortMessage|all|stdio)":/i

/**
 * Makes a line of JSON, as pino made it, fit for eyes and files: withholds the values of secret keys and
 * escapes what can drive or deceive a terminal (JSON itself escapes only the C0 characters).
 */
export function safeLine(line: string): string {
  const open = withheldKey.test(line) ? `${JSON.stringify(withhold(JSON.parse(line)))}\n` : line
  return open.replace(
    // DEL and C1; the marks, separators and overrides that change the direction or the lines of a text.
    // oxlint-disable-next-line no-control-regex
    /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function withhold(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(withhold)
  // A described error: its code is the platform's (ENOENT, 23505), not a user's program.
  const isError = 'stack' in value && 'message' in value && 'type' in value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) =>
      inner !== null && withheldKey.test(`"${key}":`) && !(isError && key === 'code')
        ? [key, '[withheld]']
        : [key, withhold(inner)],
    ),
  )
}
