import { describe, expect, it } from 'vitest'
import { fakeEngine, json } from './testing-fake-engine.ts'

describe('Engine', () => {
  it.each([
    ['1.41', '1.12', 'v1.41'],
    ['1.52', '1.44', 'v1.47'],
  ])('speaks an API of an Engine that has %s down to %s', async (ApiVersion, MinAPIVersion, version) => {
    const { engine, asked } = await fakeEngine((_, response) => json(response, []), {
      ApiVersion,
      MinAPIVersion,
    })
    await engine.containers('label')
    expect(asked.at(-1)).toMatch(`GET /${version}/containers/json?`)
  })

  it.each([
    ['1.39', '1.12'],
    ['1.60', '1.48'],
  ])('refuses, in words, an Engine that has %s down to %s', async (ApiVersion, MinAPIVersion) => {
    const { engine } = await fakeEngine(() => {}, { ApiVersion, MinAPIVersion })
    await expect(engine.facts()).rejects.toThrow(
      `speaks its API from ${MinAPIVersion} to ${ApiVersion}, this agent from 1.40 to 1.47`,
    )
  })

  it('asks once more when the connection was cut before the answer', async () => {
    let cut = 0
    const { engine, asked } = await fakeEngine((request, response) => {
      if (cut++ === 0) request.socket.destroy()
      else response.writeHead(204).end()
    })
    await engine.start('one')
    expect(asked.filter((one) => one.includes('/containers/one/start'))).toHaveLength(2)
  })

  it('fails in words when it is cut again', async () => {
    const { engine } = await fakeEngine((request) => request.socket.destroy())
    await expect(engine.start('one')).rejects.toMatchObject({
      kind: 'cut',
      message: expect.stringContaining('closed the connection (ECONNRESET) when asked to start a container'),
    })
  })

  it('fails in words when there is no answer in time', async () => {
    const { engine } = await fakeEngine(() => {})
    await expect(engine.start('one')).rejects.toMatchObject({
      kind: 'silent',
      message: expect.stringContaining('did not answer in 0.5 s when asked to start a container'),
    })
  })

  it('fails in the time of the act, whatever had to be asked before', async () => {
    const { engine, hang } = await fakeEngine(() => {})
    hang()
    await expect(engine.kill('one', 50)).rejects.toThrow('did not answer in 0.05 s when asked to kill')
  })

  it('holds what it knows of an Engine that hangs', async () => {
    const { engine, hang } = await fakeEngine(() => {})
    const known = await engine.facts()
    hang()
    await expect(engine.factsNow(50)).rejects.toMatchObject({ kind: 'silent' })
    await expect(engine.kill('one', 50)).rejects.toMatchObject({ kind: 'silent' })
    expect(await engine.facts()).toBe(known)
  })

  it('attaches to a container once', async () => {
    const { engine, asked } = await fakeEngine((request) => request.socket.destroy())
    await expect(engine.attach('one')).rejects.toMatchObject({ kind: 'cut' })
    expect(asked.filter((one) => one.includes('/attach'))).toHaveLength(1)
  })

  it('takes what is not there, or is gone already, for removed and killed', async () => {
    for (const status of [404, 409]) {
      const { engine } = await fakeEngine((_, response) => json(response, { message: 'no' }, status))
      await engine.remove('one')
      await engine.kill('one', 500)
    }
    const { engine } = await fakeEngine((_, response) => json(response, { message: 'driver failed' }, 500))
    await expect(engine.remove('one')).rejects.toThrow('did not remove a container: driver failed')
  })

  it('does not find an image that is not there, and says so of nothing else', async () => {
    const missing = await fakeEngine((_, response) => json(response, { message: 'no such image' }, 404))
    expect(await missing.engine.image('docker.io/library/python:3')).toBeUndefined()
    const broken = await fakeEngine((_, response) => json(response, {}, 500))
    await expect(broken.engine.image('docker.io/library/python:3')).rejects.toThrow(
      'did not look for an image',
    )
  })

  it('sends the name of a container in the address and all else in the body', async () => {
    let body = ''
    const { engine, asked } = await fakeEngine((request, response) => {
      request.on('data', (bytes: Buffer) => (body += bytes.toString()))
      request.on('end', () => json(response, { Id: 'the-id' }, 201))
    })
    expect(await engine.create('a-name', { Image: 'sha256:1' })).toBe('the-id')
    expect(asked.at(-1)).toBe('POST /v1.41/containers/create?name=a-name')
    expect(JSON.parse(body)).toEqual({ Image: 'sha256:1' })
  })

  it('knows a failed import by what comes after the status', async () => {
    const { engine } = await fakeEngine((request, response) => {
      request
        .resume()
        .on('end', () => response.writeHead(200).end('{"status":"x"}\n{"error":"no space left"}\n'))
    })
    await expect(
      engine.importImage(Buffer.from('tar'), { repo: 'errand-box', tag: '1', label: 'a=b' }),
    ).rejects.toThrow('no space left')
  })
})
