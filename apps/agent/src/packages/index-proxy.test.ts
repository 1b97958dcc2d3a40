import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, request, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { basename, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { ownedDirectory } from '../../../../infra/owned-directory.ts'
import {
  startPackageIndex,
  type IndexFault,
  type PackageIndexServer,
} from '../../../../infra/package-index.ts'
import { runTool } from '../../../../infra/run-tool.ts'
import { ask, proxyTo, temporaryDirectory, type ProxyUnderTest } from './testing-installation.ts'

const auth = { username: 'errand', password: 'secret-of-the-index' }
const basic = `Basic ${Buffer.from('errand:secret-of-the-index').toString('base64')}`
const wheel = 'errand_alpha-1.1-py3-none-any.whl'
const json = { headers: { accept: 'application/vnd.pypi.simple.v1+json' } }
const dir = ownedDirectory('errand-index-')
let index: PackageIndexServer
beforeAll(async () => {
  index = await startPackageIndex({ dir, auth, filesElsewhere: true })
})
afterEach(() => {
  index.log.length = 0
  index.fault = undefined
})
afterAll(async () => {
  await index.stop()
  rmSync(dir, { recursive: true })
})

const python = (more?: Parameters<typeof proxyTo>[1]) =>
  proxyTo({ kind: 'python', url: index.pythonUrl, auth }, more)
const node = (more?: Parameters<typeof proxyTo>[1]) =>
  proxyTo({ kind: 'node', url: index.npmUrl, auth }, more)

/** Of each file that a page names: its path at the proxy, by its name. */
async function namedFiles(
  proxy: ProxyUnderTest,
  page: string,
  asked = json,
): Promise<Record<string, string>> {
  const { text } = await ask(proxy, page, asked)
  const links = [...text.matchAll(/(?:href=|"url":|"tarball":)"([^"]+)"/g)].map(([, link = '']) => link)
  const paths = links.map((link) => new URL(link, 'http://127.0.0.1:4711').pathname)
  return Object.fromEntries(paths.map((path) => [basename(path), path]))
}

const answersWith = (headers: Record<string, string>, body: string | Buffer) => {
  index.fault = (path) => (path.startsWith('/files') ? undefined : { status: 200, headers, body })
}

describe('the pages of an index', () => {
  it('name files at the proxy alone, with what pip and npm go by', async () => {
    const proxy = await python()
    const page = await ask(proxy, '/simple/errand-alpha/', json)
    expect(page.headers['content-type']).toBe('application/vnd.pypi.simple.v1+json')
    expect(JSON.parse(page.text)).toMatchObject({
      name: 'errand-alpha',
      files: [
        {},
        {
          filename: wheel,
          url: expect.stringMatching(
            new RegExp(`^http://127\\.0\\.0\\.1:4711/files/[\\w-]+/${wheel}$`),
          ) as string,
          hashes: { sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string },
          'requires-python': '>=3.6',
          'core-metadata': true,
        },
      ],
    })
    const html = await ask(proxy, '/simple/errand-alpha/')
    expect(html.headers['content-type']).toBe('text/html; charset=utf-8')
    expect(html.text).toMatch(
      new RegExp(
        `<a href="/files/[\\w-]+/${wheel}#sha256=[0-9a-f]{64}" data-requires-python="&#62;=3.6" data-dist-info-metadata="true" data-core-metadata="true">`,
      ),
    )
    const npm = await node()
    for (const path of ['/@errand-test%2fright', '/@errand-test/right', '/@errand-test%2Fright']) {
      const packument = JSON.parse((await ask(npm, path)).text) as { versions: Record<string, unknown> }
      expect(packument.versions['1.1.0']).toMatchObject({
        dist: {
          tarball: expect.stringMatching(
            /^http:\/\/127\.0\.0\.1:4711\/files\/[\w-]+\/errand-test-right-1\.1\.0\.tgz$/,
          ) as string,
        },
      })
    }
    expect(page.text + html.text).not.toContain(index.filesUrl)
  })

  it('are asked for with the credentials, which nobody else is shown', async () => {
    const proxy = await python()
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    const file = await ask(proxy, files[wheel]!, {
      headers: { authorization: 'Basic Zm9vOmJhcg==', cookie: 'a=b' },
    })
    expect(file.body).toEqual(readFileSync(join(dir, wheel)))
    expect(file.headers).toMatchObject({ 'content-length': String(file.body.length) })
    expect(
      index.log.map(({ path, headers }) => [path.split('/')[1], headers.authorization, headers.cookie]),
    ).toEqual([
      ['simple', basic, undefined],
      ['files', undefined, undefined],
    ])
  })

  it('have also the metadata of wheels behind their links', async () => {
    const proxy = await python()
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    const { status, text } = await ask(proxy, `${files[wheel]}.metadata`)
    expect({ status, text }).toEqual({
      status: 200,
      text: expect.stringContaining('Name: errand-alpha') as string,
    })
  })

  it('are not there for packages that the index lacks, which is no fault', async () => {
    const proxy = await python()
    expect(await ask(proxy, '/simple/errand-none/')).toMatchObject({
      status: 404,
      text: `${index.pythonUrl}errand-none/ is not there\n`,
    })
    expect(await ask(await node(), '/errand-none')).toMatchObject({ status: 404 })
    expect(proxy.told.refused).toEqual([])
  })

  it('are unpacked where the index packs them', async () => {
    const proxy = await python()
    const page = '<a href="a-1.0-py3-none-any.whl">a</a>'
    answersWith({ 'content-type': 'text/html', 'content-encoding': 'gzip' }, gzipSync(page))
    expect(Object.keys(await namedFiles(proxy, '/simple/a/'))).toEqual(['a-1.0-py3-none-any.whl'])
    expect(index.log[0]?.headers['accept-encoding']).toBe('gzip')
  })

  it('are named by their place after a redirect', async () => {
    const proxy = await python()
    index.fault = (path) =>
      path === '/simple/old/' ? { status: 301, headers: { location: '/simple/errand-gamma/' } } : undefined
    const files = await namedFiles(proxy, '/simple/old/')
    expect(await ask(proxy, Object.values(files)[0]!)).toMatchObject({ status: 200 })
  })
})

describe('an index that wants something else', () => {
  it('is told as it is where it refuses the credentials', async () => {
    const proxy = await proxyTo({ kind: 'python', url: index.pythonUrl })
    const { status, text } = await ask(proxy, '/simple/errand-alpha/')
    expect({ status, text }).toEqual({ status: 403, text: expect.stringContaining('index_auth') as string })
    expect(proxy.told.refused).toEqual([
      `${index.pythonUrl}errand-alpha/ is not shown to us (401): the executor's index_auth may be missing or wrong`,
    ])
  })

  it.each([
    ['text/plain', 'hello', /is no page of a simple index: its type is "text\/plain"/],
    ['application/vnd.pypi.simple.v1+json', '{"url":"\n"}', /is no JSON/],
    ['text/html', gzipSync(Buffer.alloc(65 * 2 ** 20)), /is larger than 64 MiB/],
    ['text/html', Buffer.from([0x1f, 0x8b, 8, 0, 1, 2, 3]), /came damaged/],
    ['text/html', gzipSync('<a href=/f/x>'.repeat(100_001)), /names more than 100000 files/],
  ])('is refused a page %s', async (type, body, words) => {
    const proxy = await python()
    answersWith({ 'content-type': type, ...(Buffer.isBuffer(body) && { 'content-encoding': 'gzip' }) }, body)
    expect(await ask(proxy, '/simple/a/')).toMatchObject({
      status: 502,
      text: expect.stringMatching(words) as string,
    })
    expect(proxy.told.refused).toEqual([expect.stringMatching(words)])
  })

  it('names no files but those of http', async () => {
    const proxy = await python()
    const links = [
      'javascript:alert(1)',
      'file:///etc/passwd',
      'data:text/plain,a',
      'ftp://h/a',
      'http://',
      '',
      '/',
    ]
    const far = `http://h/${'a'.repeat(5_000)}`
    answersWith(
      { 'content-type': 'text/html' },
      [...links, far].map((link) => `<a href="${link}">x</a>`).join('<base href="gopher://h/">'),
    )
    expect(await namedFiles(proxy, '/simple/a/')).toEqual({})
  })

  it.each([
    [500, 503],
    [429, 503],
    [418, 502],
    [304, 502],
    [206, 502],
    [410, 404],
  ])('answers %i, which pip is told as %i', async (theirs, ours) => {
    const proxy = await python()
    index.fault = () => ({ status: theirs })
    expect(await ask(proxy, '/simple/a/')).toMatchObject({ status: ours })
  })

  it('is given up when it is silent, or gone', async () => {
    const proxy = await python({ idleMs: 100 })
    index.fault = () => 'silent'
    expect(await ask(proxy, '/simple/a/')).toMatchObject({
      status: 504,
      text: expect.stringContaining('silent') as string,
    })
    const gone = await proxyTo({ kind: 'python', url: 'http://127.0.0.1:1/simple' })
    expect(await ask(gone, '/simple/a/')).toMatchObject({
      status: 502,
      text: 'cannot reach http://127.0.0.1:1: ECONNREFUSED\n',
    })
  })

  it('is given up when it falls silent in the middle', async () => {
    const server = createServer(
      (_, response) => void response.writeHead(200, { 'content-type': 'text/html' }).write('<a'),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      server.close()
      server.closeAllConnections()
    })
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const proxy = await proxyTo({ kind: 'python', url }, { idleMs: 100 })
    expect(await ask(proxy, '/simple/a/')).toMatchObject({
      status: 504,
      text: expect.stringContaining('silent') as string,
    })
  })
})

describe('a pip that takes its time', () => {
  it('is not taken for a silent index', async () => {
    const idleMs = 100
    const proxy = await python({ idleMs })
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    const body = randomBytes(30 * 2 ** 20)
    index.fault = () => ({ status: 200, body })
    const asking = request({
      socketPath: proxy.socketPath,
      path: files[wheel]!,
      headers: { host: '127.0.0.1:1' },
      agent: false,
    }).end()
    const [response] = (await once(asking, 'response')) as [IncomingMessage]
    // Several times what the index would have.
    await new Promise((resolve) => setTimeout(resolve, 5 * idleMs))
    expect(proxy.told.bytes).toBeLessThan(body.length)
    let size = 0
    for await (const chunk of response as AsyncIterable<Buffer>) size += chunk.length
    expect(size).toBe(body.length)
    expect(proxy.told.refused).toEqual([])
  })
})

describe('what is cut off', () => {
  it('is cut off for pip too, and told', async () => {
    const proxy = await python()
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    index.fault = () => 'cut'
    await expect(ask(proxy, files[wheel]!)).rejects.toThrow('aborted')
    await expect.poll(() => proxy.told.refused).toEqual([`${wheel} was cut off`])
    expect(await ask(proxy, '/simple/errand-beta/')).toMatchObject({ status: 502 })
  })

  it('is no fault where it is pip that leaves', async () => {
    const proxy = await python()
    index.fault = () => 'silent'
    const socket = connect(proxy.socketPath)
    socket.write('GET /simple/a/ HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n')
    await expect.poll(() => index.log.length).toBe(1)
    socket.destroy()
    await expect.poll(() => index.log[0]?.status).toBe(200)
    expect(proxy.told.refused).toEqual([])
  })
})

describe('what is refused', () => {
  it('is every path but those of packages and of files that pages name', async () => {
    const proxy = await python()
    const other = await python()
    const token = (await namedFiles(other, '/simple/errand-alpha/'))[wheel]!
    expect(await ask(other, token)).toMatchObject({ status: 200 })
    const paths = [
      '/',
      '/simple/',
      '/simple',
      '/simple/../admin/',
      '/simple/%2e%2e/',
      '/simple/Flask/',
      '/simple/a/b/',
    ]
    paths.push(
      'http://127.0.0.1:9/simple/a/',
      '//evil/simple/a/',
      '/files/x/y',
      '/files/',
      token,
      `${token}/..`,
    )
    paths.push(`/files/${Buffer.from(`${index.filesUrl}/files/${wheel}`).toString('base64url')}/${wheel}`)
    index.log.length = 0
    for (const path of paths)
      expect({ path, status: (await ask(proxy, path)).status }).toEqual({ path, status: 403 })
    const npm = await node()
    for (const path of [
      '/',
      '/-/v1/search',
      '/-/npm/v1/security/advisories/bulk',
      '/a/1.0.0',
      '/@a',
      '/..%2fx',
      '/%2e%2e',
    ])
      expect({ path, status: (await ask(npm, path)).status }).toEqual({ path, status: 403 })
    expect(index.log).toEqual([])
    expect(proxy.told.refused).toHaveLength(paths.length)
  })

  it('is everything but reading', async () => {
    const proxy = await python()
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])
      expect(await ask(proxy, '/simple/errand-alpha/', { method })).toMatchObject({ status: 405 })
    const socket = connect(proxy.socketPath)
    socket.write('CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n')
    await once(socket, 'close')
    expect(index.log).toEqual([])
    expect(await ask(proxy, '/simple/errand-alpha/', { method: 'HEAD' })).toMatchObject({
      status: 200,
      text: '',
    })
  })

  it('is a name for the proxy that is not its own', async () => {
    const proxy = await python()
    for (const host of ['evil.example', '127.0.0.1', '127.0.0.1:1/x', ''])
      expect(await ask(proxy, '/simple/a/', { headers: { host } })).toMatchObject({ status: 400 })
  })

  it('is a redirect to where no page has named files', async () => {
    const proxy = await python()
    const elsewhere = await startPackageIndex({ dir: join(temporaryDirectory(), 'other') })
    onTestFinished(() => elsewhere.stop())
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    const redirectTo = (location: string) => {
      index.fault = () => ({ status: 302, headers: { location } })
    }
    for (const target of [elsewhere.pythonUrl, 'file:///etc/passwd']) {
      redirectTo(`${target}?signature=secret`)
      for (const path of ['/simple/errand-alpha/', files[wheel]!]) {
        const { status, text } = await ask(proxy, path)
        expect({ status, text }).toEqual({
          status: 403,
          text: expect.stringMatching(/redirects to .*, which the index does not name\n$/) as string,
        })
        expect(text).not.toContain('secret')
      }
    }
    expect(elsewhere.log).toEqual([])
    redirectTo('/again')
    expect(await ask(proxy, '/simple/a/')).toMatchObject({
      status: 502,
      text: expect.stringContaining('again') as string,
    })
  })

  it('is not a redirect to where pages name files, which is shown no credentials', async () => {
    const proxy = await python()
    await namedFiles(proxy, '/simple/errand-alpha/')
    const page: IndexFault = { status: 200, headers: { 'content-type': 'text/html' }, body: '' }
    const redirect: IndexFault = { status: 302, headers: { location: `${index.filesUrl}/page/` } }
    index.fault = (path) => (path === '/page/' ? page : redirect)
    expect(await ask(proxy, '/simple/a/')).toMatchObject({ status: 200 })
    expect(index.log.at(-1)).toMatchObject({ path: '/page/' })
    expect(index.log.at(-1)?.headers.authorization).toBeUndefined()
  })
})

describe('the room of an installation', () => {
  it('is refused to a file that tells that it does not fit', async () => {
    const proxy = await python({ mostBytes: 1_500 })
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    expect(await ask(proxy, files[wheel]!)).toMatchObject({
      status: 413,
      text: 'the packages are larger than the 0 MB that one set may fetch\n',
    })
    expect(proxy.told).toEqual({
      bytes: expect.any(Number) as number,
      refused: ['the packages are larger than the 0 MB that one set may fetch'],
    })
    expect(proxy.told.bytes).toBeLessThanOrEqual(1_500)
  })

  it('ends a file that does not tell', async () => {
    const proxy = await python({ mostBytes: 2 ** 20 })
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    index.fault = () => ({
      status: 200,
      headers: { 'transfer-encoding': 'chunked' },
      body: randomBytes(2 ** 21),
    })
    await expect(ask(proxy, files[wheel]!)).rejects.toThrow('aborted')
    await expect
      .poll(() => proxy.told.refused)
      .toEqual(['the packages are larger than the 1 MB that one set may fetch'])
    expect(proxy.told.bytes).toBeLessThanOrEqual(2 ** 20)
  })

  it('is told as it is taken, before all of it is there', async () => {
    const told: number[] = []
    const proxy = await python({ onBytes: (n) => void told.push(n) })
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    told.length = 0
    index.fault = () => ({ pauseMs: 50 })
    const { body } = await ask(proxy, files[wheel]!)
    expect(told.length).toBeGreaterThan(1)
    expect(told.reduce((sum, n) => sum + n, 0)).toBe(body.length)
  })
})

describe('the socket', () => {
  it('is open to everybody whom its directory lets in', async () => {
    const proxy = await python()
    expect(statSync(proxy.socketPath).mode & 0o777).toBe(0o666)
  })

  it('takes the place of one that a dead agent left', async () => {
    const socketPath = join(temporaryDirectory(), 'index.sock')
    await runTool('/usr/bin/python3', [
      '-c',
      'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])',
      socketPath,
    ])
    expect(existsSync(socketPath)).toBe(true)
    expect(
      await ask(await python({ socketPath }).then(() => ({ socketPath })), '/simple/errand-none/'),
    ).toMatchObject({ status: 404 })
  })

  it('is gone when the proxy closes, with all that is under way', async () => {
    const proxy = await python()
    index.fault = () => 'silent'
    const asking = ask(proxy, '/simple/a/').catch((error: NodeJS.ErrnoException) => error.code)
    await expect.poll(() => index.log.length).toBe(1)
    await Promise.all([proxy.close(), proxy.close()])
    expect(await asking).toBe('ECONNRESET')
    expect(existsSync(proxy.socketPath)).toBe(false)
    await expect.poll(() => index.log[0]?.status).toBe(200)
    expect(proxy.told.refused).toEqual([])
  })

  it('serves many at once', async () => {
    const proxy = await python()
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    const paths = Array.from({ length: 40 }, (_, n) => (n % 2 ? files[wheel]! : '/simple/errand-alpha/'))
    const answers = await Promise.all(paths.map((path) => ask(proxy, path)))
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
  })
})

describe('a folder as an index', () => {
  const offline = (kind: 'python' | 'node', folder = dir) => proxyTo({ kind, dir: folder })

  it('has a page for each project and package of its files', async () => {
    const proxy = await offline('python')
    const files = await namedFiles(proxy, '/simple/errand-alpha/')
    expect(Object.keys(files)).toEqual(['errand_alpha-1.0-py3-none-any.whl', wheel])
    expect((await ask(proxy, files[wheel]!)).body).toEqual(readFileSync(join(dir, wheel)))
    expect(Object.keys(await namedFiles(proxy, '/simple/errand-source/'))).toEqual([
      'errand_source-1.0.tar.gz',
    ])
    expect(proxy.told.bytes).toBe(statSync(join(dir, wheel)).size)
    const npm = await offline('node')
    const { text } = await ask(npm, '/@errand-test%2fright')
    expect(JSON.parse(text)).toMatchObject({
      name: '@errand-test/right',
      'dist-tags': { latest: '1.1.0' },
      versions: { '1.0.0': {}, '1.1.0': { version: '1.1.0' }, '2.0.0-rc.1': {} },
    })
    const tarballs = await namedFiles(npm, '/errand-left')
    expect(Object.keys(tarballs)).toEqual(['errand-left-1.0.0.tgz'])
    expect(await ask(npm, tarballs['errand-left-1.0.0.tgz']!)).toMatchObject({ status: 200 })
  })

  it('shows no file outside, none that is a link and nothing that is no file', async () => {
    const folder = temporaryDirectory()
    writeFileSync(join(folder, '..', `${basename(folder)}.whl`), '')
    onTestFinished(() => rmSync(`${folder}.whl`))
    symlinkSync('/etc/passwd', join(folder, 'passwd-1.0-py3-none-any.whl'))
    symlinkSync(join(dir, 'errand-left-1.0.0.tgz'), join(folder, 'left.tgz'))
    await runTool('mkfifo', [join(folder, 'pipe-1.0-py3-none-any.whl'), join(folder, 'pipe.tgz')])
    const proxy = await offline('python', folder)
    for (const project of ['passwd', 'pipe'])
      expect(await ask(proxy, `/simple/${project}/`)).toMatchObject({ status: 404 })
    const names = [
      'passwd-1.0-py3-none-any.whl',
      'pipe-1.0-py3-none-any.whl',
      `..%2f${basename(folder)}.whl`,
      '..',
      '%2e',
      '%00',
      '%',
    ]
    for (const name of names) expect(await ask(proxy, `/files/-/${name}`)).toMatchObject({ status: 403 })
    expect(await ask(await offline('node', folder), '/errand-left')).toMatchObject({ status: 404 })
  })

  it('shows no file that is no package', async () => {
    const folder = temporaryDirectory()
    for (const name of ['.npmrc', 'left.tgz', 'left-1.0.tar.gz']) writeFileSync(join(folder, name), name)
    const shown = async (kind: 'python' | 'node') => {
      const proxy = await offline(kind, folder)
      const asked = ['.npmrc', 'left.tgz', 'left-1.0.tar.gz'].map((name) => ask(proxy, `/files/-/${name}`))
      return (await Promise.all(asked)).map(({ status }) => status)
    }
    expect(await shown('python')).toEqual([403, 403, 200])
    expect(await shown('node')).toEqual([403, 200, 403])
  })

  it('passes over tarballs that are none', async () => {
    const folder = temporaryDirectory()
    const tar = (name: string, ...entries: string[]) =>
      runTool('tar', ['-C', folder, '-czf', join(folder, name), ...entries])
    const manifest = async (text: string, file: string) => {
      writeFileSync(join(folder, 'package.json'), text)
      await tar(file, '--transform', 's,^,package/,', 'package.json')
    }
    writeFileSync(join(folder, 'noise.tgz'), randomBytes(100_000))
    writeFileSync(join(folder, 'empty.tgz'), '')
    writeFileSync(join(folder, 'zeros.tgz'), gzipSync(Buffer.alloc(70 * 2 ** 20)))
    await manifest('{"name": "bad"', 'bad.tgz')
    await manifest('{"name": "bad", "version": "one"}', 'worse.tgz')
    await manifest(`{"name": "bad", "version": "1.0.0", "x": "${'x'.repeat(2 ** 20)}"}`, 'long.tgz')
    await manifest('{"name": "good", "version": "v1.0.0-rc.1"}', 'good.tgz')
    const proxy = await offline('node', folder)
    expect(await ask(proxy, '/bad')).toMatchObject({ status: 404 })
    expect(JSON.parse((await ask(proxy, '/good')).text)).toMatchObject({
      'dist-tags': { latest: '1.0.0-rc.1' },
    })
  })

  it('is told where it is not there', async () => {
    const proxy = await offline('python', '/nonexistent')
    expect(await ask(proxy, '/simple/a/')).toMatchObject({
      status: 503,
      text: 'cannot read the folder of packages /nonexistent: ENOENT\n',
    })
  })
})
