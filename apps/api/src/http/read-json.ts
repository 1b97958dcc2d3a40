import type { Context } from 'hono'
import type { ProblemDetail } from '@errand/shared'
import { checkJsonShape } from './json-shape.ts'
import { Problem } from './problem.ts'
import { readBody } from './read-body.ts'

const decoder = new TextDecoder('utf-8', { fatal: true })

/**
 * The body as parsed JSON, and its bytes. Refuses another media type or a `Content-Encoding` (415), more than
 * `limit` bytes (413; 16 MiB), what is not JSON in UTF-8 or nests too deep (400), and keys that mean something to JavaScript (422).
 */
export async function readJson(
  c: Context,
  mediaTypes: readonly string[] = ['application/json'],
  limit?: number,
): Promise<{ value: unknown; bytes: Uint8Array<ArrayBuffer> }> {
  refuseOtherMediaTypes(c, mediaTypes)
  const bytes = await readBody(c, limit)
  if (bytes.length === 0) throw badJson('The body is empty.')
  return { value: parseChecked(bytes), bytes }
}

/** As `readJson`, of a body that may be left out, whatever its headers say; undefined then. */
export async function readOptionalJson(c: Context): Promise<unknown> {
  const bytes = await readBody(c)
  if (bytes.length === 0) return undefined
  refuseOtherMediaTypes(c, ['application/json'])
  return parseChecked(bytes)
}

function parseChecked(bytes: Uint8Array<ArrayBuffer>): unknown {
  checkJsonShape(bytes)
  const value = parse(bytes)
  const errors = hostileKeys(value)
  if (errors.length > 0)
    throw new Problem('validation_failed', 'The body has keys that are refused.', { errors })
  return value
}

function refuseOtherMediaTypes(c: Context, mediaTypes: readonly string[]): void {
  const encoding = c.req.header('content-encoding')
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity')
    throw unsupported('header Content-Encoding', 'must be absent: bodies are taken uncompressed')
  const [mediaType, ...parameters] = (c.req.header('content-type') ?? '').toLowerCase().split(';')
  if (!mediaTypes.includes(mediaType!.trim()))
    throw unsupported('header Content-Type', `must be ${mediaTypes.join(' or ')}`)
  for (const parameter of parameters)
    if (/^\s*charset\s*=/.test(parameter) && !/^\s*charset\s*=\s*"?utf-?8"?\s*$/.test(parameter))
      throw unsupported('header Content-Type', 'must have no charset but utf-8')
}

function unsupported(pointer: string, detail: string): Problem {
  return new Problem('unsupported_media_type', `${pointer} ${detail}.`, { errors: [{ pointer, detail }] })
}

function parse(bytes: Uint8Array): unknown {
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    throw badJson('The body is not valid UTF-8.')
  }
  try {
    return JSON.parse(text)
  } catch {
    // The parser's own message quotes the body
    throw badJson('The body is not valid JSON.')
  }
}

function badJson(detail: string): Problem {
  return new Problem('bad_json', detail, { errors: [{ pointer: '', detail }] })
}

/** `__proto__` is an own key after JSON.parse, which schemas pass over in silence and an assignment would obey. */
function hostileKeys(value: unknown, pointer = ''): ProblemDetail[] {
  if (typeof value !== 'object' || value === null) return []
  if (Array.isArray(value)) return value.flatMap((one, index) => hostileKeys(one, `${pointer}/${index}`))
  return Object.entries(value).flatMap(([key, one]) => {
    if (key === '__proto__' || key === 'constructor' || key === 'prototype')
      return [{ pointer: `${pointer}/${key}`, detail: 'is not allowed as a key' }]
    return hostileKeys(one, `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`)
  })
}
