import { type Context, Hono } from 'hono'
import type { Stream } from '@errand/shared'
import type { Parts } from '../app.ts'
import type { AppEnv } from '../http/app-env.ts'
import { type ByteRange, byteRange } from '../http/byte-range.ts'
import { idParam, notFound } from '../http/path-params.ts'
import { Problem } from '../http/problem.ts'
import { visibleProject } from '../http/require-role.ts'
import { noQuery, validQuery } from '../http/validate.ts'
import { findOutput, readOutput } from '../store/read-output.ts'

/** One read of the store. What is larger is sent as it is read, never held whole. */
const pieceBytes = 256 * 1024

/** The exact bytes of a stream (promise 4), while it runs those so far. They are the program's: nothing may render them. */
export function executionOutputRoutes(parts: Parts) {
  const routes = new Hono<AppEnv>()
  for (const stream of ['stdout', 'stderr'] as const)
    routes.get(`/executions/:id/${stream}`, (c) => answerOutput(c, parts, stream))
  return routes
}

async function answerOutput(c: Context<AppEnv>, { db }: Parts, stream: Stream): Promise<Response> {
  validQuery(c, noQuery)
  const id = idParam(c)
  const output = await findOutput(db, { id, project: visibleProject(c), stream })
  if (output === undefined) throw notFound()
  const etag = output.final ? `"${output.fence}-${stream}"` : undefined
  if (etag !== undefined) c.header('etag', etag)

  const range = askedRange(c, etag, output.bytes)
  if (range === 'unsatisfiable')
    throw new Problem('range_not_satisfiable', `The stream has ${output.bytes} bytes.`, {
      headers: { 'content-range': `bytes */${output.bytes}` },
    })
  const { start, end } = range ?? { start: 0, end: output.bytes }
  const headers = {
    'content-type': 'application/octet-stream',
    'content-disposition': `attachment; filename="${id}.${stream}"`,
    'accept-ranges': 'bytes',
    'content-length': String(end - start),
    ...(range && { 'content-range': `bytes ${start}-${end - 1}/${output.bytes}` }),
  }
  const read = (offset: number, length: number) =>
    readOutput(db, { id, fence: output.fence, stream, offset, length }) as Promise<Uint8Array<ArrayBuffer>>
  const body = await bodyOf(c, read, { start, end })
  return c.newResponse(body, range ? 206 : 200, headers)
}

/** `If-Range` with another version, or with one that can still grow, means the whole. */
function askedRange(c: Context, etag: string | undefined, total: number) {
  const condition = c.req.header('if-range')
  if (condition !== undefined && condition !== etag) return undefined
  return byteRange(c.req.header('range'), total)
}

type Read = (offset: number, length: number) => Promise<Uint8Array<ArrayBuffer>>

async function bodyOf(c: Context, read: Read, { start, end }: ByteRange) {
  if (c.req.method === 'HEAD' || start === end) return null
  if (end - start <= pieceBytes) return read(start, end - start)
  let offset = start
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const bytes = await read(offset, Math.min(pieceBytes, end - offset))
      // Gone meanwhile (a new attempt, retention): a cut answer says so, a short one would be taken for whole
      if (bytes.length === 0) return controller.error(new Error('the output is no longer there'))
      controller.enqueue(bytes)
      offset += bytes.length
      if (offset === end) controller.close()
    },
  })
}
