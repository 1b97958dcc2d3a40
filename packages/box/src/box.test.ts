import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { boxArchitectures, boxBinary } from './binary.ts'
import { encodeBundle, killMessage } from './bundle.ts'
import type { BundlePhase } from './bundle.ts'
import { asRoot, bundleOf, openBox, phaseOf, someUser } from './testing/open-box.ts'
import type { Opened } from './testing/open-box.ts'

const built = mkdtempSync(join(tmpdir(), 'errand-box-built-'))
chmodSync(built, 0o755)
afterAll(() => rmSync(built, { recursive: true }))

it('the binaries are of these sources', () => {
  const folder = join(import.meta.dirname, '..')
  const files = [
    'build.sh',
    ...readdirSync(join(folder, 'c'))
      .sort()
      .map((name) => `c/${name}`),
  ]
  const sum = execFileSync('sh', ['-c', `cat ${files.join(' ')} | sha256sum`], {
    cwd: folder,
    encoding: 'utf8',
  })
  expect(readFileSync(join(folder, 'bin/source-sha256'), 'utf8').trim()).toBe(sum.slice(0, 64))
  for (const arch of boxArchitectures) expect(existsSync(boxBinary(arch))).toBe(true)
})

const sleepers = 'for n in 1 2 3; do (setsid sh -c "sleep 300 & sleep 300" >/dev/null 2>&1 &); done'

const perl = (code: string) => ({ argv: ['/usr/bin/perl', '-e', code] })

describe.each([
  ['as it is kept', () => boxBinary()],
  ['built anew', buildAnew],
])('a box %s', (_, binaryOf) => {
  let binary: string
  beforeAll(() => {
    binary = binaryOf()
  })

  describe.each(asRoot ? (['root', 'another user'] as const) : (['this user'] as const))(
    'run by %s',
    (by) => {
      const own = by === 'another user' ? { user: someUser } : {}
      /** Whom code runs as: another than a box that is root. */
      const user = by === 'root' ? someUser : undefined
      let box: Opened
      beforeAll(() => {
        box = openBox(binary, ['serve'], own)
        if (own.user) execFileSync('chown', ['61990', box.workDirs])
        chmodSync(box.workDirs, 0o711)
      })
      afterAll(() => box.close())

      /** Runs a script; no process of it is left. */
      const sh = async (code: string, phase: Partial<BundlePhase> = {}) => {
        const files = [{ path: 'dir/main.sh', content: code }]
        const told = await box.run({ user, files, stdin: 'input' }, { argv: ['sh', 'dir/main.sh'], ...phase })
        expect(childrenOf(box.pid)).toEqual([])
        return told
      }

      it('runs what it is given: files, input, streams apart, exit code', async () => {
        const told = await sh('echo out; cat; echo err >&2; cat /dev/stdin >/dev/stdout; exit 3')
        expect(told).toMatchObject({
          stdout: 'out\ninputinput',
          stderr: 'err\n',
          exits: [{ exitCode: 3, signal: null }],
        })
        expect(told.facts).toMatchObject([{ stdoutBytes: 14, stderrBytes: 4, oomKills: 0 }])
        expect(told.facts[0]!.cpuMs).toBeGreaterThan(0)
        expect(told.facts[0]!.peakMemoryBytes).toBeGreaterThan(100_000)
      })

      it.each([9, 11, 34, 64])(
        'tells signal %i from the exit code that shells make of it',
        async (number) => {
          const [signaled, exited] = [await sh(`kill -${number} $$`), await sh(`exit ${128 + number}`)]
          expect(signaled.exits[0]).toMatchObject({ exitCode: null, killed: null })
          expect(signaled.exits[0]!.signal).toMatch(/^SIG/)
          expect(exited.exits[0]).toMatchObject({ exitCode: 128 + number, signal: null })
        },
      )

      it('says what could not be executed, and goes on where that is asked', async () => {
        const missing = phaseOf({ kind: 'question', goOn: true, argv: ['/nowhere/tool'] })
        const there = phaseOf({ kind: 'question', argv: ['echo', 'there'] })
        const told = await box.run({ user, phases: [missing, there, phaseOf()] })
        expect(told.exits).toMatchObject([{ notExecuted: 2 }, { exitCode: 0 }, { exitCode: 0 }])
        const stopped = await box.run({ user, phases: [{ ...missing, goOn: false }, there] })
        expect(stopped.exits).toHaveLength(1)
      })

      it('ends a phase at its limit, at its cap, for its cpu time, and when asked, and says which', async () => {
        const loops = 'echo x; while :; do :; done'
        const slow = await sh('echo before; sleep 300', { limitMs: 200 })
        expect(slow).toMatchObject({ stdout: 'before\n', exits: [{ signal: 'SIGKILL', killed: 'deadline' }] })
        const flood = await sh('yes', { capBytes: 100 })
        expect(flood).toMatchObject({ stdout: 'y\n'.repeat(50), exits: [{ killed: 'output' }] })
        expect(flood.facts[0]!.stdoutBytes).toBeGreaterThan(100)
        expect((await sh(loops, { cpuMs: 150 })).exits).toMatchObject([{ killed: 'cpu_time' }])
        box.stdout.once('data', () => box.stdin.write(killMessage))
        expect((await sh(loops)).exits).toMatchObject([{ signal: 'SIGKILL', killed: 'asked' }])
      })

      it('passes over a kill that comes when nothing runs', async () => {
        box.stdin.write(Buffer.concat([killMessage, killMessage]))
        expect((await sh('echo ran')).stdout).toBe('ran\n')
      })

      it('counts what goes beyond the cap where the program may go on', async () => {
        const code = 'head -c 300000 /dev/zero; echo done >&2'
        const told = await sh(code, { capBytes: 1000, killAtCap: false })
        expect(told.stdout).toHaveLength(1000)
        expect(told).toMatchObject({
          stderr: 'done\n',
          exits: [{ exitCode: 0 }],
          facts: [{ stdoutBytes: 300_000 }],
        })
        expect(told.frames.filter(({ type }) => type === 'capped')).toHaveLength(1)
      })

      it('leaves no process: not what left session and parent, nor a storm of zombies', async () => {
        expect((await sh(`${sleepers}; echo gone`)).stdout).toBe('gone\n')
        expect((await sh(`${sleepers}; exec sleep 300`, { limitMs: 200 })).exits).toMatchObject([
          { killed: 'deadline' },
        ])
        const storm = await sh('i=0; while [ $i -lt 500 ]; do (true &); i=$((i+1)); done; echo over')
        expect(storm.stdout).toBe('over\n')
      })

      it('outruns a program that forks and dies without end', async () => {
        const code = `import os
if os.fork() == 0:
    while True:
        if os.fork(): os._exit(0)
        os.setsid()`
        const told = await box.run(
          { user, files: [{ path: 'main.py', content: code }] },
          { argv: ['/usr/bin/python3', 'main.py'] },
        )
        expect(told.exits).toMatchObject([{ exitCode: 0 }])
      })

      it('outgrows a program that lengthens a chain of descendants', async () => {
        const code = 'if (!fork) { while () { sleep 300 if fork } } select(undef, undef, undef, 0.2)'
        const told = await box.run({ user, rlimits: { nproc: 500 } }, perl(code))
        expect(told.exits).toMatchObject([{ exitCode: 0 }])
        // of the box, which a chain that is killed link by link keeps busy
        expect(told.facts[0]!.cpuMs).toBeLessThan(2_000)
      })

      it('is not stopped by a program that stops all that it may', async () => {
        // in the box's place this user may stop the box, too
        if (by !== 'root') return
        const own = { uid: 62_000 + (process.pid % 1_000), gid: 62_000 }
        const code = 'if (!fork) { setpgrp; kill STOP, -1 while 1 } sleep 300'
        for (let n = 0; n < 25; n++)
          expect((await box.run({ user: own }, { ...perl(code), limitMs: 20 })).exits).toMatchObject([
            { killed: 'deadline' },
          ])
      })

      it('gives code neither its channel nor its memory', async () => {
        const code = `import os
def tried(act):
    try: act(); return 'done'
    except OSError as e: return e.strerror
above = os.getppid()
for path in ('fd/0', 'fd/1', 'mem', 'environ'):
    print(tried(lambda: os.write(os.open(f'/proc/{above}/{path}', os.O_RDWR), b'Z')))
print(sorted(os.listdir('/proc/self/fd')))`
        const told = await box.run(
          { user, files: [{ path: 'main.py', content: code }] },
          { argv: ['/usr/bin/python3', 'main.py'] },
        )
        expect(told.stdout).toBe(`${'Permission denied\n'.repeat(4)}['0', '1', '2', '3']\n`)
      })

      it('runs code as the user, without groups or privileges', async () => {
        const told = await sh(
          'id -u; id -G; grep -E "^(Cap(Prm|Eff|Amb)|NoNewPrivs)" /proc/self/status; stat -c %a .',
        )
        const uid = user?.uid ?? own.user?.uid ?? process.getuid!()
        expect(told.stdout.split('\n').slice(0, 1)).toEqual([String(uid)])
        expect(told.stdout).toMatch(/^NoNewPrivs:\t1$/m)
        if (by === 'this user') return
        expect(told.stdout).toMatch(/^CapEff:\t0+$/m)
        if (by !== 'root') return
        expect(told.stdout).toMatch(/^61990\n61990\n/)
      })

      it.runIf(mayHaveKeyrings())('gives code a keyring of its own', async () => {
        const serials = async () => (await sh('grep " _ses" /proc/keys | cut -d" " -f1')).stdout
        expect(await serials()).not.toBe(await serials())
      })

      it('waits for no other who holds and fills a pipe of a program', async () => {
        const held = join(box.workDirs, 'held')
        const holds = `read pid; until (: >/proc/$pid/fd/1) 2>/dev/null; do :; done
exec 3>/proc/$pid/fd/1; touch ${held}; exec cat /dev/zero >&3`
        const holder = spawn('sh', ['-c', holds], { ...own.user })
        onTestFinished(() => void holder.kill('SIGKILL'))
        const told = sh(`until [ -e ${held} ]; do sleep 0.01; done; printf last >&2`, {
          capBytes: 1_000,
          killAtCap: false,
        })
        await expect.poll(() => childrenOf(box.pid)).toHaveLength(1)
        holder.stdin.end(`${childrenOf(box.pid)[0]}\n`)
        expect(await told).toMatchObject({ stderr: 'last', exits: [{ exitCode: 0 }] })
      })

      it('keeps no bundle in memory while code runs', async () => {
        const measured = join(box.workDirs, 'measured')
        const content = `until [ -e ${measured} ]; do sleep 0.01; done; wc -c #${'x'.repeat(8_000_000)}`
        const given = { user, files: [{ path: 'main.sh', content }], stdin: 'y'.repeat(8_000_000) }
        let rss = 0
        box.stdout.once('data', () => {
          rss = rssOf(box.pid)
          writeFileSync(measured, '')
        })
        expect((await box.run(given, { argv: ['sh', 'main.sh'] })).stdout).toBe('8000000\n')
        expect(rss).toBeLessThan(3_000)
      })

      it('counts what all in a sandbox used, also what its program left', async () => {
        const code = `pipe(R, W); if (!fork) { for (1 .. 1e5) { 1 for 1 .. 1e5; last if (times)[0] > 0.2 } syswrite W, 'x'; sleep 300 } sysread R, $_, 1`
        const wrapper = [
          '/usr/bin/bwrap',
          '--unshare-all',
          '--unshare-user',
          '--as-pid-1',
          '--die-with-parent',
        ]
          .concat('--bind', '/', '/', '--proc', '/proc', '--dev', '/dev')
          .concat('--', '/proc/self/fd/6', 'init')
        const told = await box.run({ user }, { ...perl(code), wrapper })
        expect(told.exits).toMatchObject([{ exitCode: 0 }])
        expect(told.facts[0]!.cpuMs).toBeGreaterThan(190)
      })

      it('sends artifacts as a tar: regular files of the work directory that are asked for, no more than fit', async () => {
        const code = `mkdir -p out/deep; echo one >out/one.txt; echo two >out/deep/two.txt; echo no >other
ln -s /etc/passwd out/link.txt; ln out/one.txt out/twin.txt; mkfifo out/fifo.txt; head -c 5000 /dev/zero >out/big.txt`
        const told = await box.run(
          {
            user,
            files: [{ path: 'main.sh', content: code }],
            artifacts: { globs: ['out/**/*.txt', 'missing'], capBytes: 4_000 },
          },
          { argv: ['sh', 'main.sh'] },
        )
        expect(execFileSync('tar', ['-tf', '-'], { input: told.tar, encoding: 'utf8' })).toBe(
          'out/deep/two.txt\n',
        )
        expect(execFileSync('tar', ['-xOf', '-'], { input: told.tar, encoding: 'utf8' })).toBe('two\n')
        const omitted = told.frames.flatMap((one) =>
          one.type === 'artifacts_omitted' ? [[one.path, one.reason]] : [],
        )
        expect(omitted.toSorted(([one = ''], [other = '']) => one.localeCompare(other))).toEqual([
          ['out/big.txt', 'does not fit into the limit'],
          ['out/fifo.txt', 'is no regular file'],
          ['out/link.txt', 'is no regular file'],
          ['out/one.txt', 'has more than one name'],
          ['out/twin.txt', 'has more than one name'],
        ])
      })

      it('says of artifacts what it does not look through, and comes to an end', async () => {
        const name = 'a'.repeat(200)
        const code = `mkdir -p ${'d/'.repeat(65)}; touch ${name}; printf x >last.txt`
        const globs = [`${'*a'.repeat(60)}b`, `${'**/*'.repeat(100)}/b`, '*.txt']
        const told = await box.run(
          { user, artifacts: { globs, capBytes: 4_000 } },
          { argv: ['sh', '-c', code] },
        )
        const omitted = told.frames.filter((one) => one.type === 'artifacts_omitted')
        expect(omitted.map(({ reason }) => reason)).toContain('has more in it than is looked through')
        const deep = await box.run(
          { user, artifacts: { globs: ['*.txt'], capBytes: 4_000 } },
          { argv: ['sh', '-c', code] },
        )
        expect(deep.frames.filter((one) => one.type === 'artifacts_omitted')).toMatchObject([
          { path: 'd/'.repeat(64).slice(0, -1), reason: 'is too deep' },
        ])
        expect(deep.tar.toString('latin1')).toMatch(/^last\.txt/)
      })

      it('says that it failed, and goes on with the next bundle', async () => {
        const twice = await box.run({ user, workDir: { path: box.workDirs, make: true } })
        expect(twice.frames).toMatchObject([
          { type: 'failed', stage: 'making the work directory' },
          { type: 'done' },
        ])
        const sandbox = await sh('echo never', {
          wrapper: ['/bin/sh', '-c', 'echo no sandbox here >&2; exit 1'],
        })
        expect(sandbox.frames.at(-2)).toMatchObject({
          type: 'failed',
          stage: 'the sandbox failed: no sandbox here\n',
        })
        expect((await sh('echo ran')).stdout).toBe('ran\n')
      })

      it('takes neither more descriptors nor more memory, however many bundles come', async () => {
        const look = () => ({
          fds: readdirSync(`/proc/${box.pid}/fd`).length,
          rss: rssOf(box.pid),
        })
        await sh('yes | head -c 500000')
        const before = look()
        for (let n = 0; n < 100; n++) await sh('echo out')
        expect(look().fds).toBe(before.fds)
        expect(look().rss).toBeLessThan(before.rss + 200)
      })
    },
  )

  it('ends what runs, and itself, when its input ends', async () => {
    const box = openBox(binary)
    box.stdout.once('data', () => box.stdin.end())
    await box.run(
      { files: [{ path: 'main.sh', content: `${sleepers}; echo x; exec sleep 300` }] },
      { argv: ['sh', 'main.sh'] },
    )
    expect(await box.ended).toEqual([0, null])
    await box.close()
  })

  it('once: goes on when its input ends, and ends after its bundle', async () => {
    const box = openBox(binary, ['once'])
    const bundle = bundleOf(join(box.workDirs, 'work'), {}, { argv: ['sh', '-c', 'sleep 0.3; echo all'] })
    expect((await box.feed(encodeBundle(bundle))).stdout).toBe('all\n')
    expect(await box.ended).toEqual([0, null])
    await box.close()
  })

  it('holds the deadline when nobody reads what it says, and keeps little of it', async () => {
    const box = openBox(binary)
    box.stdout.pause()
    const told = box.run({}, { argv: ['yes'], limitMs: 700, capBytes: 1e9 })
    await expect.poll(() => childrenOf(box.pid).length).toBe(1)
    await expect.poll(() => childrenOf(box.pid).length, { timeout: 10_000 }).toBe(0)
    expect(rssOf(box.pid)).toBeLessThan(2_000)
    box.stdout.resume()
    const { exits, facts, stdout } = await told
    expect(exits).toMatchObject([{ killed: 'deadline' }])
    expect(stdout.length).toBe(facts[0]!.stdoutBytes)
    await box.close()
  })

  it('ends when nobody reads its artifacts any more', async () => {
    const box = openBox(binary)
    box.stdout.once('data', () => box.stdout.destroy())
    await box.run(
      { artifacts: { globs: ['**'], capBytes: 1e7 } },
      { argv: ['sh', '-c', 'head -c 5000000 /dev/zero >big; sleep 0.1'] },
    )
    expect(await box.ended).toEqual([0, null])
    await box.close()
  })

  it('hands on nothing that was open or ignored where it was started', async () => {
    const box = openBox('/bin/sh', ['-c', 'trap "" INT QUIT; exec "$0" serve', binary], {
      stdio: ['pipe', 'pipe'],
    })
    const argv = ['sh', '-c', 'ls /proc/self/fd; grep SigIgn /proc/self/status']
    expect((await box.run({}, { argv })).stdout).toBe('0\n1\n2\n3\nSigIgn:\t0000000000000000\n')
    await box.close()
  })

  describe('runs nothing of a bundle', () => {
    const marker = join(tmpdir(), `errand-box-marker-${process.pid}`)
    const bundle = (workDirs: string) =>
      Buffer.from(encodeBundle(bundleOf(join(workDirs, 'work'), {}, { argv: ['touch', marker] })))
    const refused = async (change: (whole: Buffer) => Buffer, args = ['once']) => {
      const box = openBox(binary, args)
      onTestFinished(() => rmSync(marker, { force: true }))
      const told = await box.feed(change(bundle(box.workDirs)))
      await box.ended
      expect(readdirSync(box.workDirs)).toEqual([])
      expect(existsSync(marker)).toBe(false)
      await box.close()
      return told.frames
    }

    it('that is cut anywhere', async () => {
      for (const at of [1, 3, 4, 11, 12, 43, 44, 45, -60, -1])
        expect(await refused((whole) => whole.subarray(0, at))).toMatchObject([
          { type: 'failed', stage: 'the bundle was cut' },
          { type: 'done' },
        ])
    })

    it('of which a bit is wrong', async () => {
      for (const at of [12, 43, 44, 60])
        expect(
          await refused((whole) => {
            whole[at]! ^= 1
            return whole
          }),
        ).toMatchObject([{ type: 'failed', stage: "the bundle's checksum is wrong" }, { type: 'done' }])
      expect(await refused(() => Buffer.from('GET / HTTP/1.1\r\n'.repeat(9)))).toMatchObject([
        { type: 'failed', stage: 'this is no bundle' },
        { type: 'done' },
      ])
    })

    it('whose sender pauses for too long', async () => {
      const box = openBox(binary, ['serve', '100'])
      box.stdin.write(bundle(box.workDirs).subarray(0, 50))
      await box.ended
      expect(existsSync(marker)).toBe(false)
      await box.close()
    })
  })
})

function buildAnew(): string {
  execFileSync('sh', [join(import.meta.dirname, '../build.sh'), built])
  return join(built, `box-linux-${process.arch}`)
}

/** Its own thread is the only one. */
function childrenOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean)
}

/** In KiB. */
function rssOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

/** Most containers forbid them. */
function mayHaveKeyrings(): boolean {
  const keyctl = process.arch === 'x64' ? 250 : 219
  return spawnSync('perl', ['-e', `exit(syscall(${keyctl}, 1, 0) < 0)`]).status === 0
}
