import { describe, expect, it } from 'vitest'
import { testDockerEngine } from '../../../infra/test-docker-engine.ts'
import { testImages } from '../../../infra/test-images.ts'
import { boxBinary } from './binary.ts'
import { openBox } from './testing/open-box.ts'

/** No other test's: a box on the host ends all of its user's. */
const user = { uid: 61_989, gid: 61_989 }

describe('a box that is the first process of a container', () => {
  it('counts the cpu time of processes that nobody waits for', { timeout: 180_000 }, async () => {
    const code = `import signal, os, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        while time.process_time() < 0.02: pass
        os._exit(0)
    time.sleep(0.04)`
    const capabilities = ['SETUID', 'SETGID', 'SETPCAP', 'KILL'].map((one) => `--cap-add=${one}`)
    const box = openBox('docker', [
      `--host=unix://${await testDockerEngine()}`,
      'run',
      '--interactive',
      '--rm',
      '--network=none',
      '--cap-drop=ALL',
      ...capabilities,
      `--tmpfs=/work:mode=0700,uid=${user.uid},gid=${user.gid}`,
      `--volume=${boxBinary()}:/box:ro`,
      testImages.python,
      '/box',
      'once',
    ])
    const told = await box.run(
      { user, workDir: { path: '/work', make: false } },
      { argv: ['python3', '-c', code], cpuMs: 300, env: { PATH: '/usr/local/bin:/usr/bin:/bin' } },
    )
    expect(told.exits).toMatchObject([{ killed: 'cpu_time' }])
    expect(told.facts[0]!.cpuMs).toBeGreaterThan(300)
    await box.close()
  })
})
