import { z } from 'zod'

/**
 * Text that every part between a caller and a kernel can carry: no lone surrogates (they have no UTF-8) and,
 * unless said otherwise, no NUL (PostgreSQL's text and execve both refuse it).
 */
export const wellFormed = (max: number) =>
  z
    .string()
    .max(max)
    .refine((text) => text.isWellFormed(), 'must not contain lone surrogates')

/** As `wellFormed`, and without NUL. `max` counts UTF-16 units. */
export const plainText = (max: number) =>
  wellFormed(max).refine((text) => !text.includes('\0'), 'must not contain NUL characters')

/** C0, DEL, C1, line separators and the bidi overrides. */
const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/u

/** One line for people: no control characters, which could steer a terminal. */
export const oneLine = (max: number) =>
  wellFormed(max).refine((text) => !control.test(text), 'must not contain control characters')

/** Any text as one line for people, of at most `max` characters: control characters are shown as U+FFFD. */
export function shownLine(text: string, max: number): string {
  const line = text
    .toWellFormed()
    .replaceAll(/[\t\r\n]+/g, ' ')
    .replaceAll(new RegExp(control, 'gu'), '\uFFFD')
  return line.length <= max ? line : `${line.slice(0, max - 1).toWellFormed()}…`
}

/** The name of an executor, agent or key: it stands in URLs, labels, container names and log lines. */
export const name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/,
    'must be 1 to 63 of A-Z a-z 0-9 _ . -, beginning with a letter or digit',
  )

/** Labels on agents and executions: at most 32, keys like names, values one line of at most 256 characters. */
export const labels = z
  .record(name, oneLine(256))
  .refine((given) => Object.keys(given).length <= 32, 'must have at most 32 labels')

/** Environment variables: POSIX names; values of at most 128 KiB, as the kernel takes no longer string (MAX_ARG_STRLEN). */
export const environment = z
  .record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,255}$/, 'must be a POSIX variable name'),
    plainText(131_071),
  )
  .refine((given) => Object.keys(given).length <= 512, 'must have at most 512 variables')

/** What makes a repeated submission the same one: it goes into a header, too. */
export const idempotencyKey = z
  .string()
  .regex(/^[\u0021-\u007e]{1,255}$/, 'must be 1 to 255 visible ASCII characters')

/** Seconds with fractions, from a millisecond up to a day. */
export const seconds = z.number().min(0.001).max(86_400)
