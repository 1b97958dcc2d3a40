import type { Context } from 'hono'
import { sizeLimits } from '@errand/shared'
import { Problem } from './problem.ts'

/**
 * The body's bytes, at most 16 MiB: refused by its `Content-Length` before any of it is read, and by counting
 * where that is absent. The connection is closed then, as the rest of the body would be read as the next request.
 */
export async function readBody(c: Context): Promise<Uint8Array<ArrayBuffer>> {
  const declared = c.req.header('content-length')
  if (declared !== undefined && Number(declared) > sizeLimits.body) throw tooLarge()
  try {
    // With a length the HTTP server itself stops there, and reads without the cost of a stream
    const bytes =
      declared === undefined ? await count(c.req.raw.body) : new Uint8Array(await c.req.arrayBuffer())
    if (bytes.length > sizeLimits.body) throw tooLarge()
    return bytes
  } catch (error) {
    if (error instanceof Problem) throw error
    throw new Problem('bad_request', 'The body ended before it was whole.')
  }
}

async function count(body: ReadableStream<Uint8Array> | null): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body ?? []) {
    length += chunk.length
    // Leaving the loop cancels the stream
    if (length > sizeLimits.body) throw tooLarge()
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

function tooLarge(): Problem {
  const detail = `must have at most ${sizeLimits.body} bytes`
  return new Problem('too_large', `The body ${detail}.`, {
    errors: [{ pointer: '', detail }],
    headers: { connection: 'close' },
  })
}
