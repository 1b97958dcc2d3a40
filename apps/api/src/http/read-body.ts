import type { Context } from 'hono'
import { sizeLimits } from '@errand/shared'
import { Problem } from './problem.ts'

/**
 * The body's bytes, at most `limit` (16 MiB): refused by its `Content-Length` before any of it is read, and by counting
 * where that is absent. The connection is closed then, as the rest of the body would be read as the next request.
 */
export async function readBody(
  c: Context,
  limit: number = sizeLimits.body,
): Promise<Uint8Array<ArrayBuffer>> {
  const declared = c.req.header('content-length')
  if (declared !== undefined && Number(declared) > limit) throw tooLarge(limit)
  try {
    // With a length the HTTP server itself stops there, and reads without the cost of a stream
    const bytes =
      declared === undefined ? await count(c.req.raw.body, limit) : new Uint8Array(await c.req.arrayBuffer())
    if (bytes.length > limit) throw tooLarge(limit)
    return bytes
  } catch (error) {
    if (error instanceof Problem) throw error
    throw new Problem('bad_request', 'The body ended before it was whole.')
  }
}

async function count(
  body: ReadableStream<Uint8Array> | null,
  limit: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body ?? []) {
    length += chunk.length
    // Leaving the loop cancels the stream
    if (length > limit) throw tooLarge(limit)
    chunks.push(chunk)
  }
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.length
  }
  return bytes
}

function tooLarge(limit: number): Problem {
  const detail = `must have at most ${limit} bytes`
  return new Problem('too_large', `The body ${detail}.`, {
    errors: [{ pointer: '', detail }],
    headers: { connection: 'close' },
  })
}
