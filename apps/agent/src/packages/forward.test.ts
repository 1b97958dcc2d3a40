import { createServer } from 'node:http'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { execute, interpreters, temporaryDirectory } from './testing-installation.ts'

/** A proxy that answers with 1 MB of a letter, the request's path. */
async function letters(): Promise<string> {
  const socket = join(temporaryDirectory(), 'x.sock')
  const server = createServer((request, response) => response.end(request.url?.at(1)?.repeat(1_000_000)))
  server.listen(socket)
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return socket
}

/** Asks 20 times at once. */
const client = `
import sys, threading, urllib.request
def ask(letter):
    body = urllib.request.urlopen(sys.argv[1] + letter).read()
    if body != letter.encode() * 1000000: print(letter, len(body))
threads = [threading.Thread(target=ask, args=(letter,)) for letter in 'abcdefghijklmnopqrst']
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sys.argv[2:])
`

describe.each([
  ['python', 'forward.py'],
  ['node', 'forward.mjs'],
] as const)('the forwarder of %s', (runtime, script) => {
  const forward = (socket: string, ...command: string[]) =>
    execute([interpreters[runtime], join(import.meta.dirname, script), socket, '--', ...command], '/')

  it('leads a port to the socket, for many at once', async () => {
    const told = await forward(
      await letters(),
      '/usr/bin/python3',
      '-c',
      client,
      'http://127.0.0.1:{port}/',
      '--',
      'a b',
      '',
    )
    expect(told).toEqual({ code: 0, stdout: "['--', 'a b', '']\n", stderr: '' })
  })

  it('ends as the command does', async () => {
    expect(await forward('/none', '/bin/sh', '-c', 'echo {port}; exit 3')).toMatchObject({
      code: 3,
      stdout: expect.stringMatching(/^\d+\n$/) as string,
    })
    expect(await forward('/none', '/bin/sh', '-c', 'kill -9 $$')).toMatchObject({ code: 137 })
  })

  it('says that it does not reach the socket', async () => {
    const fetch = "import sys, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + sys.argv[1])"
    const { code, stderr } = await forward('/none', '/usr/bin/python3', '-c', fetch, '{port}')
    expect(code).toBe(1)
    expect(stderr).toContain(`${script}: cannot reach /none: `)
  })
})
