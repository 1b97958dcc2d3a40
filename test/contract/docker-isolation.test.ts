import { execFileSync } from 'node:child_process'
import { readFileSync, readlinkSync, readdirSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { dockerExecutor } from '@errand/shared'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { testImages } from '../../infra/test-images.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { labels } from '../../apps/agent/src/backends/docker/labels.ts'
import { drive } from './drive.ts'
import type { Driven } from './drive.ts'
import { tag } from './harness.ts'
import { docker, openDocker } from './open-docker.ts'
import type { OpenDocker } from './open-docker.ts'

describe('a program in a container', () => {
  let socketPath: string
  let opened: OpenDocker
  beforeAll(async () => {
    socketPath = await testDockerEngine()
    opened = await openDocker(socketPath)
  }, 180_000)
  afterAll(() => opened.close())

  const python = (code: string, atWork?: () => void): Promise<Driven> => {
    const settings = dockerExecutor.parse({ image: testImages.runtimes })
    let looked = false
    return drive({
      backend: opened.backend,
      settings,
      submission: { code, env: { [tag.name]: tag.value } },
      slot: 7,
      watch(_, text, stop) {
        if (looked || !text.includes('ready')) return
        looked = true
        atWork?.()
        stop('canceled')
      },
    })
  }
  const json = async (code: string): Promise<unknown> => JSON.parse((await python(code)).stdout.toString())

  test('has the posture that was promised, seen from outside', async () => {
    let seen: Record<string, unknown> = {}
    await python('import time; print("ready", flush=True); time.sleep(60)', () => {
      const pid = readdirSync('/proc').find((name) => {
        try {
          return readFileSync(`/proc/${name}/environ`, 'utf8').includes(`${tag.name}=${tag.value}`)
        } catch {
          return false
        }
      })
      const status = readFileSync(`/proc/${pid}/status`, 'utf8')
      const of = (field: string): string => new RegExp(`^${field}:[ \\t]*(.*)$`, 'm').exec(status)![1]!
      const ours = ['cgroup', 'ipc', 'mnt', 'net', 'pid', 'uts'].filter(
        (name) => readlinkSync(`/proc/${pid}/ns/${name}`) === readlinkSync(`/proc/self/ns/${name}`),
      )
      const mounts = readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n')
      const writable = mounts
        .map((line) => line.split(' '))
        .filter((fields) => fields[5]!.split(',')[0] === 'rw')
        .map((fields) => `${fields[4]} ${fields[fields.indexOf('-') + 1]}`)
        // Of what is masked there some hosts have more.
        .filter((mount) => !mount.startsWith('/proc/'))
      seen = {
        caps: ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((field) => Number(`0x${of(field)}`)),
        noNewPrivileges: of('NoNewPrivs'),
        seccomp: of('Seccomp'),
        uids: of('Uid').split('\t'),
        groups: of('Groups').trim(),
        // This machine's Engine leaves control groups of version 1 in the host's namespace.
        ours: ours.filter((name) => name !== 'cgroup'),
        descriptors: readdirSync(`/proc/${pid}/fd`).toSorted(),
        writable: writable.toSorted(),
        oomScore: readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim(),
      }
    })
    expect(seen).toEqual({
      caps: [0, 0, 0, 0, 0],
      noNewPrivileges: '1',
      seccomp: '2',
      uids: ['60585', '60585', '60585', '60585'],
      groups: '',
      ours: [],
      descriptors: ['0', '1', '2'],
      writable: [
        '/dev tmpfs',
        '/dev/mqueue mqueue',
        '/dev/pts devpts',
        '/dev/shm tmpfs',
        '/proc proc',
        '/sandbox tmpfs',
        // root's alone
        '/sys/fs/cgroup tmpfs',
        '/tmp tmpfs',
      ],
      oomScore: '1000',
    })
  })

  test('is in a container that holds what Docker benchmarks ask for', async () => {
    let inspected = ''
    await python('import time; print("ready", flush=True); time.sleep(60)', () => {
      const [id] = docker(socketPath, 'ps', '-q', `--filter=label=${labels.agent}=${opened.mark}`)
      inspected = execFileSync('docker', ['--host', `unix://${socketPath}`, 'inspect', id!], {
        encoding: 'utf8',
      })
    })
    const [{ HostConfig: host, Config: config, Mounts: mounts, NetworkSettings: network }] =
      JSON.parse(inspected)
    expect(host).toMatchObject({
      Binds: null,
      CapDrop: ['ALL'],
      CapAdd: ['SETUID', 'SETGID', 'SETPCAP', 'KILL'],
      SecurityOpt: ['no-new-privileges'],
      Privileged: false,
      ReadonlyRootfs: true,
      NetworkMode: 'none',
      IpcMode: 'private',
      PidMode: '',
      UTSMode: '',
      Memory: 1_024 * 2 ** 20,
      MemorySwap: 1_024 * 2 ** 20,
      MemorySwappiness: 0,
      NanoCpus: 1e9,
      PidsLimit: 129,
      OomKillDisable: false,
      OomScoreAdj: 500,
      Init: false,
      AutoRemove: false,
      RestartPolicy: { Name: 'no' },
      PublishAllPorts: false,
      Devices: null,
    })
    expect(config).toMatchObject({ Tty: false, StdinOnce: true, Healthcheck: { Test: ['NONE'] } })
    expect(config.Labels).toMatchObject({ [labels.agent]: opened.mark, [labels.fence]: expect.any(String) })
    expect(mounts).toEqual([
      expect.objectContaining({ Type: 'volume', Destination: '/errand', RW: false, Driver: 'local' }),
    ])
    expect(Object.keys(network.Networks)).toEqual(['none'])
  })

  test('reaches neither the box nor its channel', async () => {
    const seen = await json(`import os, json, signal
def tries(*acts):
    said = []
    for act in acts:
        try: said.append(repr(act()))
        except OSError as error: said.append(type(error).__name__)
    return said
box = '/proc/1'
print(json.dumps([
  tries(lambda: os.listdir(box + '/fd'), lambda: open(box + '/fd/1', 'wb'), lambda: os.open(box + '/mem', os.O_RDWR),
        lambda: open(box + '/environ').read(), lambda: os.readlink(box + '/exe'), lambda: os.readlink(box + '/cwd')),
  tries(lambda: os.kill(1, signal.SIGKILL), lambda: os.kill(1, 0)),
  tries(lambda: open('/errand/box', 'r+b'), lambda: os.unlink('/errand/box')),
]))`)
    const refused = 'PermissionError'
    expect(seen).toEqual([
      [refused, refused, refused, refused, refused, refused],
      [refused, refused],
      [refused, 'OSError'],
    ])
  })

  test('that prints what looks like frames of the box prints it, and nothing else', async () => {
    const frames = `Z\\x00\\x00\\x00\\x00X\\x10\\x00\\x00\\x00${'\\x00'.repeat(16)}`
    const { outcome, stdout } = await python(`import sys
for stream in (sys.stdout, sys.stderr): stream.buffer.write(b'${frames}' * 1000)
sys.exit(3)`)
    expect(outcome).toBe('failed')
    expect(stdout.length).toBe(26_000)
  })

  test('has no network but loopback, and no path to the host by it', async () => {
    const server = createServer((socket) => socket.destroy()).listen(0, '0.0.0.0')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const seen = await json(`import socket, json
def reach(address):
    try: socket.create_connection(address, 2).close(); return True
    except OSError: return False
own = socket.create_server(('127.0.0.1', 0))
print(json.dumps([reach(('127.0.0.1', ${port})), reach(('172.17.0.1', ${port})), reach(('192.0.2.1', 80)),
  reach(own.getsockname()), [n for _, n in socket.if_nameindex()]]))`)
    server.close()
    expect(seen).toEqual([false, false, false, true, ['lo']])
  })

  test('can not make namespaces, mounts, keys or devices', async () => {
    const seen = await json(`import ctypes, json, os
libc = ctypes.CDLL(None, use_errno=True)
def refused(act):
    return act() == -1
def mknod():
    try: os.mknod('device', 0o20600, os.makedev(1, 3)); return 0
    except OSError: return -1
print(json.dumps([refused(lambda: libc.unshare(0x10000000)), refused(lambda: libc.unshare(0x20000)),
  refused(lambda: libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)), refused(lambda: libc.syscall(248, b'user', b'x', b'y', 1, -3)),
  refused(lambda: libc.setuid(0)), refused(mknod)]))`)
    expect(seen).toEqual([true, true, true, true, true, true])
  })

  test('finds nothing of the agent in its environment, nor anything else that was not given', async () => {
    process.env['CONTRACT_SECRET'] = 'of the agent'
    const seen = (await json('import os, json; print(json.dumps(sorted(os.environ)))')) as string[]
    delete process.env['CONTRACT_SECRET']
    expect(seen).toEqual([
      'CONTRACT_TAG',
      'GOMAXPROCS',
      'HOME',
      'LANG',
      'MKL_NUM_THREADS',
      'OMP_NUM_THREADS',
      'OPENBLAS_NUM_THREADS',
      'PATH',
      'PYTHONDONTWRITEBYTECODE',
      'TMPDIR',
    ])
  })

  test("runs as the executor's user, who is never root", async () => {
    const run = (user: string): Promise<Driven> => {
      const settings = dockerExecutor.parse({ image: testImages.runtimes, user })
      const code = 'import os; open("here", "w"); print(os.getuid(), os.getgid(), os.getgroups())'
      return drive({ backend: opened.backend, settings, submission: { code } })
    }
    expect((await run('1234:567')).stdout.toString()).toBe('1234 567 []\n')
    await expect(run('0')).rejects.toThrow('user 0 is refused: code never runs as root')
  })

  test('runs where its image declares its own folders to be volumes', async () => {
    const image = `errand-volume:${crypto.randomUUID().slice(0, 8)}`
    execFileSync('docker', ['--host', `unix://${socketPath}`, 'build', '--quiet', '--tag', image, '-'], {
      input: `FROM ${testImages.runtimes}\nVOLUME ["/tmp/", "/sandbox", "/errand", "//data/./"]\n`,
    })
    onTestFinished(() => void docker(socketPath, 'rmi', image))
    const code = 'open("/tmp/file", "w"); open("/sandbox/file", "w"); print("written")'
    const settings = dockerExecutor.parse({ image })
    const { stdout } = await drive({ backend: opened.backend, settings, submission: { code } })
    expect(stdout.toString()).toBe('written\n')
  })

  test('finds where its image declares a volume nothing that it could fill', async () => {
    const image = `errand-volume:${crypto.randomUUID().slice(0, 8)}`
    execFileSync('docker', ['--host', `unix://${socketPath}`, 'build', '--quiet', '--tag', image, '-'], {
      input: `FROM ${testImages.runtimes}\nVOLUME /data\nHEALTHCHECK CMD touch /tmp/healthy\nENV OF_THE_IMAGE=yes PATH=/usr/bin:/bin\nUSER nobody\n`,
    })
    onTestFinished(() => void docker(socketPath, 'rmi', image))
    const code = `import os, time
try: open('/data/file', 'w')
except OSError as error: print(error.strerror, os.environ['OF_THE_IMAGE'], os.environ['PATH'], flush=True); time.sleep(60)`
    const mounts: string[] = []
    const settings = dockerExecutor.parse({ image })
    const { stdout } = await drive({
      backend: opened.backend,
      settings,
      submission: { code },
      watch(_, text, stop) {
        if (!text.endsWith('\n')) return
        const [id] = docker(socketPath, 'ps', '-q', `--filter=label=${labels.agent}=${opened.mark}`)
        if (mounts.length === 0)
          mounts.push(
            ...docker(
              socketPath,
              'inspect',
              '--format={{range .Mounts}}{{println .Destination}}{{end}}',
              id!,
            ),
          )
        stop('canceled')
      },
    })
    expect(stdout.toString()).toBe('Read-only file system yes /usr/bin:/bin\n')
    expect(mounts).toEqual(['/errand'])
  })
})
