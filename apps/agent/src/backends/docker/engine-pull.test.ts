import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseImageReference } from '@errand/shared'
import { describe, expect, it } from 'vitest'
import { EngineFault } from './engine-fault.ts'
import type { EngineProgress } from './engine-progress.ts'
import type { Engine } from './engine.ts'
import { registryAuth } from './registry-auth.ts'
import { fakeEngine, json } from './testing-fake-engine.ts'

const reference = parseImageReference('example.org:5000/team/one:2')!
const last = { status: 'Status: Downloaded newer image for example.org:5000/team/one:2' }
/** So that nothing ends by that. */
const patient = { pullSilenceMs: 60_000 }
const lines = (...all: object[]): string => all.map((one) => `${JSON.stringify(one)}\r\n`).join('')

async function pull(engine: Engine, signal = new AbortController().signal): Promise<EngineProgress[]> {
  const told: EngineProgress[] = []
  for await (const one of engine.pull(reference, undefined, signal)) told.push(one)
  return told
}

describe('Engine.pull', () => {
  it('tells what the Engine tells, as it comes', async () => {
    const { engine, asked } = await fakeEngine((_, response) => {
      const all = Buffer.from(
        lines(
          { status: 'Pulling fs layer', progressDetail: {}, id: 'é' },
          { status: 'Downloading', progressDetail: { current: 1, total: 2 }, id: 'é' },
          { status: 'Extracting', progressDetail: { current: 1, units: 's' }, id: 'é' },
          { status: 7, progressDetail: 'none', id: ['a'] },
          last,
        ),
      )
      // In pieces that break lines and characters.
      for (let at = 0; at < all.length; at += 7) response.write(all.subarray(at, at + 7))
      response.end()
    })
    expect(await pull(engine)).toEqual([
      { id: 'é', status: 'Pulling fs layer' },
      { id: 'é', status: 'Downloading', current: 1, total: 2 },
      { id: 'é', status: 'Extracting' },
      { status: '' },
      last,
    ])
    expect(asked.at(-1)).toBe('POST /v1.41/images/create?fromImage=example.org%3A5000%2Fteam%2Fone&tag=2')
  })

  it.each([
    ['one', 'docker.io%2Flibrary%2Fone', 'latest'],
    [`one:2@sha256:${'0'.repeat(64)}`, 'docker.io%2Flibrary%2Fone', `sha256%3A${'0'.repeat(64)}`],
  ])('asks for %s by name and by tag or digest', async (text, name, tag) => {
    const { engine, asked } = await fakeEngine((_, response) => void response.end(lines(last)))
    for await (const _ of engine.pull(parseImageReference(text)!, undefined, new AbortController().signal));
    expect(asked.at(-1)).toBe(`POST /v1.41/images/create?fromImage=${name}&tag=${tag}`)
  })

  it('hands over credentials in a header alone, and none where there are none', async () => {
    const given: IncomingMessage[] = []
    const { engine, asked } = await fakeEngine((request, response) => {
      given.push(request)
      response.end(lines(last))
    })
    const auth = registryAuth(reference, { username: 'me', password: 'a?~é' })
    for await (const _ of engine.pull(reference, auth, new AbortController().signal));
    await pull(engine)
    const [first, second] = given.map(({ headers }) => headers['x-registry-auth'] as string | undefined)
    expect(first).toMatch(/^[\w=-]+$/)
    expect(JSON.parse(Buffer.from(first!, 'base64url').toString())).toEqual({
      username: 'me',
      password: 'a?~é',
      serveraddress: 'example.org:5000',
    })
    expect(second).toBeUndefined()
    expect(asked.join()).not.toContain('me')
  })

  it.each<[string, object, string, object]>([
    [
      'fails where it tells of an error, with its words',
      { error: 'short', errorDetail: { message: 'no\n space' } },
      'did not pull an image: no space',
      { kind: 'answered', said: 'no space' },
    ],
    ['fails where there is no detail', { error: 'short' }, 'did not pull an image: short', { said: 'short' }],
    ['fails by an error of any kind', { error: { a: 1 } }, 'did not pull an image', { kind: 'answered' }],
    ['fails by a detail of any kind', { errorDetail: 7 }, 'did not pull an image', { kind: 'answered' }],
  ])('%s', async (_name, error, words, fields) => {
    const { engine } = await fakeEngine(
      (_, response) => void response.end(lines({ status: 'Waiting', id: 'a' }, error, last)),
    )
    const failed = pull(engine)
    await expect(failed).rejects.toThrow(words)
    await expect(failed).rejects.toMatchObject(fields)
  })

  it.each<[string, (response: ServerResponse) => unknown, object]>([
    ['whose answer ends before its last word', (response) => response.end(), { kind: 'cut' }],
    ['whose connection is cut', (response) => response.destroy(), { kind: 'cut' }],
    ['that tells what is no JSON', (response) => response.end('hello\n'), { kind: 'cut' }],
    ['that tells a line without an end', (response) => response.end('x'.repeat(2_000_000)), { kind: 'cut' }],
    ['that says nothing more', () => {}, { kind: 'silent' }],
  ])('fails with an Engine %s', async (_name, end, fields) => {
    const { engine } = await fakeEngine((_, response) => {
      response.write(lines({ status: 'Pulling fs layer', id: 'a' }))
      setTimeout(end, 20, response)
    })
    await expect(pull(engine)).rejects.toMatchObject(fields)
  })

  it('waits as long as it takes while something is told', async () => {
    const { engine } = await fakeEngine((_, response) => {
      let left = 12
      const timer = setInterval(() => {
        response.write(lines({ status: 'Waiting', id: 'a' }))
        if (--left > 0) return
        clearInterval(timer)
        response.end(lines(last))
      }, 100)
    })
    // Twice as long as it may be silent.
    expect(await pull(engine)).toHaveLength(13)
  })

  it('fails with the status, where the Engine knows it before it tells anything', async () => {
    const { engine } = await fakeEngine((_, response) => json(response, { message: 'manifest unknown' }, 404))
    await expect(pull(engine)).rejects.toMatchObject({ status: 404, said: 'manifest unknown' })
  })

  it('asks once more when the connection was cut before the answer', async () => {
    let cut = 0
    const { engine } = await fakeEngine((request, response) => {
      if (cut++ === 0) request.socket.destroy()
      else response.end(lines(last))
    })
    expect(await pull(engine)).toHaveLength(1)
  })

  it.each(['before the answer', 'within it'])('closes the connection when it is aborted %s', async (when) => {
    const stop = new AbortController()
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    const { engine, asked } = await fakeEngine(
      (request, response) => {
        request.socket.on('close', () => resolve())
        if (when === 'within it') response.write(lines({ status: 'Waiting', id: 'a' }))
        setTimeout(() => stop.abort('canceled'), 20)
      },
      {},
      patient,
    )
    await expect(pull(engine, stop.signal)).rejects.toThrow(EngineFault)
    await closed
    expect(asked.filter((one) => one.includes('/images/create'))).toHaveLength(1)
  })

  it('closes the connection when nobody reads on', async () => {
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    const { engine } = await fakeEngine(
      (request, response) => {
        request.socket.on('close', () => resolve())
        response.write(lines({ status: 'Waiting', id: 'a' }))
      },
      {},
      patient,
    )
    for await (const _ of engine.pull(reference, undefined, new AbortController().signal)) break
    await expect(closed).resolves.toBeUndefined()
  })

  it('asks nothing when it was aborted before', async () => {
    const { engine, asked } = await fakeEngine(() => {})
    await expect(pull(engine, AbortSignal.abort('canceled'))).rejects.toThrow(EngineFault)
    expect(asked.join()).not.toContain('/images/create')
  })
})
