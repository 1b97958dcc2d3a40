import type { Context } from 'hono'
import { Problem } from './problem.ts'

/** The longest a request waits for its execution to end, in seconds. */
export const longestWaitSec = 60

/**
 * How long the caller wants to wait, in seconds (fractions allowed, at most 60): `Prefer: wait=SECONDS` (RFC 7240),
 * or `?wait=SECONDS` for those who can't set headers, which goes first. 0 when it is not asked for.
 */
export function waitPreference(c: Context): number {
  const inQuery = c.req.query('wait')
  if (inQuery !== undefined) return seconds(inQuery, '?wait', 'validation_failed')
  for (const preference of (c.req.header('prefer') ?? '').split(',')) {
    const [name, value = ''] = preference.split(';')[0]!.split('=')
    if (name!.trim().toLowerCase() === 'wait')
      return seconds(value.trim().replace(/^"(.*)"$/, '$1'), 'header Prefer', 'bad_request')
  }
  return 0
}

function seconds(text: string, pointer: string, code: 'validation_failed' | 'bad_request'): number {
  if (/^\d{1,9}(\.\d{1,9})?$/.test(text)) return Math.min(Number(text), longestWaitSec)
  const detail = 'must be a number of seconds'
  throw new Problem(code, `${pointer}: wait ${detail}.`, { errors: [{ pointer, detail }] })
}
