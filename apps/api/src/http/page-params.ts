import type { Context } from 'hono'
import { z } from 'zod'

/** How many rows a page has. */
export const limitParam = z
  .string()
  .regex(/^\d{1,4}$/, 'must be a whole number')
  .transform(Number)
  .pipe(z.int().min(1).max(200))
  .default(50)

export const countParam = z
  .enum(['true', 'false'])
  .transform((text) => text === 'true')
  .optional()

/** `a,b` or the parameter several times. */
export function listOf<Value extends string>(allowed: readonly Value[]) {
  return z
    .preprocess(
      (given: string | string[]) => [given].flat().flatMap((text) => text.split(',')),
      z.array(z.enum(allowed)).max(100),
    )
    .optional()
}

/** A cursor is opaque to callers: the time and id of the last row they have. */
export const cursorParam = z
  .string()
  .transform((text, context) => {
    const cursor = decodeCursor(text)
    if (cursor !== undefined) return cursor
    context.addIssue({ code: 'custom', message: 'must be a next_cursor of this list' })
    return z.NEVER
  })
  .optional()

function encodeCursor({ createdAt, id }: { createdAt: Date; id: string }): string {
  return new TextEncoder()
    .encode(`${createdAt.getTime()} ${id}`)
    .toBase64({ alphabet: 'base64url', omitPadding: true })
}

function decodeCursor(text: string): { createdAt: Date; id: string } | undefined {
  try {
    const decoded = new TextDecoder().decode(Uint8Array.fromBase64(text, { alphabet: 'base64url' }))
    const [, time, id] = /^(\d{1,15}) ([0-9a-f-]{36})$/.exec(decoded) ?? []
    if (time === undefined || !z.uuid().safeParse(id).success) return undefined
    return { createdAt: new Date(Number(time)), id: id! }
  } catch {
    return undefined
  }
}

/** Answers with a page of a list, and the link to the next. */
export function answerPage(
  c: Context,
  data: readonly unknown[],
  { next, total }: { next: Parameters<typeof encodeCursor>[0] | null; total?: number | undefined },
): Response {
  const next_cursor = next && encodeCursor(next)
  if (next_cursor) c.header('link', nextLink(c, next_cursor))
  return c.json({ data, next_cursor, ...(total !== undefined && { total }) })
}

/** RFC 8288: the same list from there on. */
export function nextLink(c: Context, cursor: string): string {
  const url = new URL(c.req.url)
  url.searchParams.set('cursor', cursor)
  return `<${url.pathname}${url.search}>; rel="next"`
}
