import { dockerExecutor } from '@errand/shared'
import type { SubmissionBody } from '@errand/shared'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { testImages } from '../../infra/test-images.ts'
import { testDockerEngine } from '../../infra/test-docker-engine.ts'
import { labels } from '../../apps/agent/src/backends/docker/labels.ts'
import { drive } from './drive.ts'
import type { Driven, Driving } from './drive.ts'
import { docker, leavesNothing, openDocker } from './open-docker.ts'
import type { OpenDocker } from './open-docker.ts'

describe('docker keeps', () => {
  let socketPath: string
  let opened: OpenDocker
  beforeAll(async () => {
    socketPath = await testDockerEngine()
    opened = await openDocker(socketPath)
  }, 180_000)
  afterEach(() => leavesNothing(opened))
  afterAll(() => opened.close())

  const run = (
    submission: Omit<SubmissionBody, 'executor'>,
    more: Partial<Driving> = {},
  ): Promise<Driven> => {
    const settings = dockerExecutor.parse({ image: testImages.runtimes })
    return drive({ backend: opened.backend, settings, submission, ...more })
  }

  test('processes: a storm of forks ends at the limit, and with its program', async () => {
    const code = `import os, time
made = 0
try:
    while True:
        if os.fork() == 0: time.sleep(60); os._exit(0)
        made += 1
except OSError as error: print(made, error.errno)`
    const { outcome, stdout } = await run({ code, limits: { pids_limit: 20 } })
    expect(outcome).toBe('succeeded')
    expect(stdout.toString()).toBe('19 11\n')
  })

  test('memory: a program that takes too much is killed for it', async () => {
    const code = 'print("before", flush=True); x = bytearray(300 * 2**20); print("after")'
    const { outcome, end, stdout } = await run({ code, limits: { mem_limit_mb: 64 } })
    expect(outcome).toBe('out_of_memory')
    expect(end).toMatchObject({ exit_code: null, signal: 'SIGKILL', out_of_memory: true, phase: 'run' })
    expect(stdout.toString()).toBe('before\n')
    expect(end.usage!.peak_memory_mb).toBeGreaterThan(50)
    expect(end.usage!.peak_memory_mb).toBeLessThanOrEqual(64)
  })

  test('memory: a child that takes too much is told of, and its parent succeeds', async () => {
    const code = `import os
pid = os.fork()
if pid == 0: x = bytearray(300 * 2**20); os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`
    const { outcome, end, stdout } = await run({ code, limits: { mem_limit_mb: 64 } })
    expect(outcome).toBe('succeeded')
    expect(end).toMatchObject({ exit_code: 0, signal: null, out_of_memory: true })
    expect(stdout.toString()).toBe('-9\n')
  })

  test('memory: the box survives a hundred programs that take too much at once', async () => {
    const code = `import os, time
for _ in range(100):
    if os.fork() == 0: x = bytearray(50 * 2**20); time.sleep(60)
time.sleep(60)`
    const { end } = await run({ code, timeout_sec: 10, limits: { mem_limit_mb: 64 } })
    expect(end).toMatchObject({ out_of_memory: true, signal: 'SIGKILL' })
    expect(end.usage).not.toBeNull()
  })

  test('cpu: four that spin get the share of half a core', async () => {
    const code = `import os, time
end = time.monotonic() + 3
pids = [os.fork() for _ in range(2)]
while time.monotonic() < end: pass`
    const { end } = await run({ code, limits: { cpus_limit_cores: 0.5 } })
    expect(end.usage!.cpu_time_sec).toBeLessThan(3 * 0.6 + 0.2)
  })

  test('cpu time: ends with the program', async () => {
    const { outcome, end } = await run({ code: 'while True: pass', limits: { cpu_time_sec: 0.5 } })
    expect(outcome).toBe('timed_out')
    expect(end.killed_for).toBe('cpu_time')
  })

  test('disk: a file grows to the limit and no further, and the disk of the Engine stays as it is', async () => {
    const code = `import os, errno
def fill(path):
    size = 0
    with open(path, 'wb', buffering=0) as f:
        try:
            while True: size += f.write(bytes(2**20))
        except OSError as error: return size / 2**20, errno.errorcode[error.errno]
print(fill('file'), fill(os.environ['TMPDIR'] + '/file'))
for path in ('/', '/etc', '/usr', '/errand', '/var/tmp'):
    try: open(path + '/file', 'w'); print('wrote to', path)
    except OSError: pass`
    const { stdout } = await run({ code, limits: { disk_limit_mb: 32 } })
    // The program itself takes a page.
    expect(stdout.toString()).toBe("(31.99609375, 'ENOSPC') (8.0, 'ENOSPC')\n")
  })

  test('descriptors: 1024 and no more', async () => {
    const code = `import os
opened = [0, 1, 2]
try:
    while True: opened.append(os.open('/dev/null', os.O_RDONLY))
except OSError as error: print(len(opened), error.errno)`
    expect((await run({ code })).stdout.toString()).toBe('1024 24\n')
  })

  test('output: a program that prints for ever is ended, and the log of its container is bounded', async () => {
    const seen: string[] = []
    const code = `import sys
while True: sys.stdout.write('x\\n'); sys.stderr.write('y')`
    const { outcome, totals } = await run(
      { code, limits: { output_limit_kb: 1_024 } },
      {
        watch() {
          if (seen.length > 0) return
          const [id] = docker(socketPath, 'ps', '-q', `--filter=label=${labels.agent}=${opened.mark}`)
          const format = '{{json .HostConfig.LogConfig}}'
          if (id) seen.push(...docker(socketPath, 'inspect', `--format=${format}`, id))
        },
      },
    )
    expect(outcome).toBe('output_limit')
    expect(totals.stdout.stored + totals.stderr.stored).toBeLessThanOrEqual(2 * 1_024 * 1_024)
    expect(JSON.parse(seen[0]!)).toEqual({
      Type: 'local',
      Config: { compress: 'false', 'max-file': '1', 'max-size': String(32 * 1_024 * 1_024) },
    })
  })

  test('compile steps to the same limits, and says which phase it was', async () => {
    const code = `#include "/dev/zero"
int main(void) { return 0; }`
    const { outcome, end } = await run({ runtime: 'c', code, limits: { mem_limit_mb: 64 } })
    expect(end.phase).toBe('compile')
    expect(['out_of_memory', 'failed']).toContain(outcome)
    expect(end.out_of_memory).toBe(true)
  })

  test('no core file when a program crashes', async () => {
    const code = `import os, resource; print(resource.getrlimit(resource.RLIMIT_CORE), flush=True); os.abort()`
    const { end, stdout } = await run({ code })
    expect(end).toMatchObject({ signal: 'SIGABRT', exit_code: null })
    expect(stdout.toString()).toBe('(0, 0)\n')
  })

  test('common programs working under the defaults of executors', async () => {
    const code = `import multiprocessing, os, sqlite3, tempfile, threading
def square(x): return x * x
if __name__ == '__main__':
    with multiprocessing.Pool(2) as pool: print(sum(pool.map(square, range(10))))
    print(sqlite3.connect('a.db').execute('select 1 + 1').fetchone()[0])
    with tempfile.NamedTemporaryFile() as f: f.write(b'x')
    os.makedirs(os.path.expanduser('~/.cache/matplotlib'))
    threads = [threading.Thread(target=lambda: None) for _ in range(30)]
    [t.start() for t in threads]
    print(os.environ['OMP_NUM_THREADS'], os.environ['OPENBLAS_NUM_THREADS'])`
    const { stdout, stderr } = await run({ code, limits: { pids_limit: 50 } })
    expect(stderr.toString()).toBe('')
    expect(stdout.toString()).toBe('285\n2\n1 1\n')
    const node = await run({
      runtime: 'node',
      code: 'console.log(require("os").tmpdir())',
      limits: { pids_limit: 50 },
    })
    expect(node.stdout.toString()).toBe('/tmp\n')
  })

  test('what a program that can make no thread says: exit 130 is no cancel', async () => {
    const { outcome, end } = await run({ code: 'exit(130)', limits: { pids_limit: 2 } })
    expect([outcome, end.exit_code]).toEqual(['failed', 130])
  })
})
