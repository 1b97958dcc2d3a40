import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { localhostExecutor } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { drive } from './drive.ts'
import { openLocalhost } from './open-localhost.ts'
import type { OpenLocalhost } from './open-localhost.ts'

const asRoot = process.getuid?.() === 0

describe('a program in the localhost sandbox', () => {
  let opened: OpenLocalhost
  beforeAll(async () => {
    opened = await openLocalhost()
  })
  afterAll(() => opened.close())

  const python = async (code: string): Promise<unknown> => {
    const settings = localhostExecutor.parse({})
    const { stdout, stderr, end } = await drive({ backend: opened.backend, settings, submission: { code } })
    expect(stderr.toString()).toBe('')
    expect(end.isolation).toEqual({
      sandbox: 'bubblewrap',
      own_uid: asRoot,
      mount_namespace: true,
      pid_namespace: true,
      network: 'none',
      cgroup: false,
      seccomp: false,
    })
    return JSON.parse(stdout.toString())
  }

  test('sees of the host /usr and a made-up /etc, read-only', async () => {
    const seen = await python(`import os, json
def writable(d):
    try: open(d + '/x', 'w').close(); return True
    except OSError: return False
print(json.dumps([sorted(os.listdir('/')), [d for d in ('/usr', '/usr/bin', '/etc', '/proc/sys') if writable(d)], os.path.exists('/etc/shadow')]))`)
    const [root, writable, shadow] = seen as [string[], string[], boolean]
    expect(root.filter((name) => !/^(lib(32|64|x32)?|s?bin)$/.test(name))).toEqual([
      'dev',
      'etc',
      'proc',
      'sandbox',
      'tmp',
      'usr',
    ])
    expect([writable, shadow]).toEqual([[], false])
  })

  test('does not see a file of the host, nor its processes', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'errand-canary-'))
    writeFileSync(join(dir, 'canary'), 'seen', { mode: 0o644 })
    const seen = await python(`import os, json
print(json.dumps([os.path.exists(${JSON.stringify(join(dir, 'canary'))}), os.path.exists('/proc/${process.pid}/cmdline')
  and open('/proc/${process.pid}/cmdline').read(), max(int(p) for p in os.listdir('/proc') if p.isdigit()) < 20]))`)
    rmSync(dir, { recursive: true })
    expect(seen).toEqual([false, false, true])
  })

  test('has no network but loopback, and no path to the host by it', async () => {
    const server = createServer((socket) => socket.destroy()).listen(0, '0.0.0.0')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const seen = await python(`import socket, json
def reach(address):
    try: socket.create_connection(address, 2).close(); return True
    except OSError: return False
own = socket.create_server(('127.0.0.1', 0))
print(json.dumps([reach(('127.0.0.1', ${port})), reach(('192.0.2.1', 80)), reach(own.getsockname()),
  [n for _, n in socket.if_nameindex()]]))`)
    server.close()
    expect(seen).toEqual([false, false, true, ['lo']])
  })

  test('has no capabilities, gains none, and makes no user namespace', async () => {
    const seen = await python(`import ctypes, json
status = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)
unshared = ctypes.CDLL(None).unshare(0x10000000)
print(json.dumps([int(status[k], 16) for k in ('CapEff', 'CapPrm', 'CapBnd', 'CapAmb')] + [status['NoNewPrivs'].strip(), unshared]))`)
    expect(seen).toEqual([0, 0, 0, 0, '1', -1])
  })

  test("finds nothing of the agent's environment in that of any process it sees", async () => {
    process.env['CONTRACT_SECRET'] = 'of the agent'
    const seen = await python(`import json, glob
def environment(path):
    try: return open(path).read().split('\\0')
    except PermissionError: return []
print(json.dumps([name for p in glob.glob('/proc/[0-9]*/environ') for name in environment(p)]))`)
    delete process.env['CONTRACT_SECRET']
    expect(seen).toContain('LANG=C.UTF-8')
    expect(String(seen)).not.toContain('CONTRACT_SECRET')
  })

  test('of a root agent runs under a uid that is not root, in the sandbox and without', async () => {
    const uids = await Promise.all(
      ['required', 'none'].map(async (sandbox, slot) => {
        const code = `import os; print(os.stat('.').st_uid, os.getuid(), os.getgroups())`
        const settings = localhostExecutor.parse({ sandbox })
        const { stdout, end } = await drive({ backend: opened.backend, settings, submission: { code }, slot })
        expect(end.isolation?.own_uid).toBe(asRoot)
        return stdout.toString()
      }),
    )
    expect(uids[0]).toMatch(/^1000 1000 \[/)
    expect(uids[1]).toMatch(asRoot ? /^61\d{3} 61\d{3} \[\]\n$/ : new RegExp(`^${process.getuid?.()} `))
  })
})
