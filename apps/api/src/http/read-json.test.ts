import { Hono } from 'hono'
import { sizeLimits } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import type { AppEnv } from './app-env.ts'
import { answerError } from './answer-error.ts'
import { readJson } from './read-json.ts'

const app = new Hono<AppEnv>()
app.onError(answerError({ debug() {}, info() {}, warn() {}, error() {} }))
app.post('/', async (c) => c.json((await readJson(c)).value))

const json = { 'content-type': 'application/json' }

async function post(
  body: string | Uint8Array<ArrayBuffer> | ReadableStream,
  headers: Record<string, string> = json,
) {
  const answer = await app.request('/', { method: 'POST', body, headers, duplex: 'half' })
  return {
    status: answer.status,
    headers: answer.headers,
    body: (await answer.json()) as Record<string, unknown>,
  }
}

describe('readJson', () => {
  it('reads JSON in UTF-8, also with a charset or a byte order mark', async () => {
    expect((await post('{"a":"ü"}')).body).toEqual({ a: 'ü' })
    expect((await post('{}', { 'content-type': 'Application/JSON; charset=UTF-8' })).status).toBe(200)
    expect((await post('\uFEFF{}')).status).toBe(200)
  })

  it.each([
    ['no content type', '{}', { 'content-type': '' }],
    ['text', '{}', { 'content-type': 'text/plain' }],
    ['a form', 'a=1', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['another charset', '{}', { 'content-type': 'application/json; charset=utf-16' }],
    ['gzip', '{}', { ...json, 'content-encoding': 'gzip' }],
  ])('answers 415 to %s', async (_, body, headers) => {
    expect(await post(body, headers)).toMatchObject({ status: 415, body: { code: 'unsupported_media_type' } })
  })

  it.each([
    ['nothing', ''],
    ['blanks', '  '],
    ['half an object', '{"a":'],
    ['two values', '{}{}'],
    ['invalid UTF-8', new Uint8Array([0x22, 0xff, 0xfe, 0x22])],
    ['half a character', new Uint8Array([0x22, 0xe2, 0x82, 0x22])],
    ['100,000 brackets', '['.repeat(100_000)],
    ['a million values', `[${'1,'.repeat(1_000_000)}1]`],
  ])('answers 400 to %s', async (_, body) => {
    expect(await post(body)).toMatchObject({
      status: 400,
      body: { code: 'bad_json', errors: [{ pointer: '' }] },
    })
  })

  it.each([
    ['{"__proto__":{"a":1}}', '/__proto__'],
    ['{"a":[{"constructor":1}]}', '/a/0/constructor'],
    [String.raw`{"\u005f_proto__":1}`, '/__proto__'],
    ['{"a/b~":{"prototype":1}}', '/a~1b~0/prototype'],
  ])('answers 422 to %s with the pointer %s', async (body, pointer) => {
    expect(await post(body)).toMatchObject({ status: 422, body: { errors: [{ pointer }] } })
  })

  it('never quotes the body', async () => {
    expect(JSON.stringify((await post('{"secret": s3cret}')).body)).not.toContain('s3cret')
  })

  it('takes 16 MiB and refuses one byte more, with and without a length', async () => {
    const largest = `"${'a'.repeat(sizeLimits.body - 2)}"`
    expect((await post(largest)).status).toBe(200)
    const refusal = { status: 413, body: { code: 'too_large', errors: [{ pointer: '' }] } }
    expect(await post(`${largest} `)).toMatchObject(refusal)
    expect(await post('{}', { ...json, 'content-length': String(sizeLimits.body + 1) })).toMatchObject(
      refusal,
    )
  })

  it('reads no further than the limit', async () => {
    let sent = 0
    const endless = new ReadableStream({
      pull(controller) {
        sent += 1024 * 1024
        controller.enqueue(new Uint8Array(1024 * 1024).fill(0x20))
      },
    })
    const answer = await post(endless)
    expect(answer.status).toBe(413)
    expect(answer.headers.get('connection')).toBe('close')
    expect(sent).toBeLessThanOrEqual(sizeLimits.body + 4 * 1024 * 1024)
  })

  it('answers 400 to a body that breaks off', async () => {
    const broken = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode('{"a'))
      },
      pull(controller) {
        controller.error(new Error('gone'))
      },
    })
    expect(await post(broken)).toMatchObject({ status: 400, body: { code: 'bad_request' } })
  })
})
