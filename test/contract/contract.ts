import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { SubmissionBody } from '@errand/shared'
import { NotStarted } from '../../apps/agent/src/backends/backend.ts'
import { drive } from './drive.ts'
import type { Driven, Driving } from './drive.ts'
import { driving, residue } from './harness.ts'
import type { Harness } from './harness.ts'
import { languages, wrongPrograms } from './languages.ts'

/** It includes itself, some 2^190 times. */
const endlessCompile = `#if __INCLUDE_LEVEL__ < 190
#include __FILE__
#include __FILE__
#endif
#if __INCLUDE_LEVEL__ == 0
int main(void) { return 0; }
#endif`

/** Of what not every backend can keep. */
type Excepted = 'endless forks'

/**
 * What every backend keeps, whatever it runs code in.
 *
 * @param exceptions what it does not keep, each with the reason
 */
export function contract(
  name: string,
  open: () => Promise<Harness>,
  exceptions: Partial<Record<Excepted, string>> = {},
): void {
  describe(`contract of ${name}`, () => {
    let harness: Harness
    beforeAll(async () => {
      harness = await open()
    })
    afterEach(async () => {
      expect(await residue(harness)).toEqual([])
    })
    afterAll(() => harness.close())

    const run = (submission: Omit<SubmissionBody, 'executor'>, more?: Partial<Driving>): Promise<Driven> =>
      drive(driving(harness, submission, more))
    const bash = (code: string, more: Omit<SubmissionBody, 'executor'> = {}): Promise<Driven> =>
      run({ runtime: 'bash', code, ...more })

    describe('output', () => {
      test('keeps the streams apart', async () => {
        const { stdout, stderr } = await bash('echo out; echo err >&2; echo more')
        expect(stdout.toString()).toBe('out\nmore\n')
        expect(stderr.toString()).toBe('err\n')
      })

      test.each(['stdout', 'stderr'] as const)('carries every byte value on %s', async (stream) => {
        const code = `import sys; sys.${stream}.buffer.write(bytes(range(256)) * 3)`
        const driven = await run({ code })
        const all = Buffer.from(Array.from({ length: 768 }, (_, index) => index % 256))
        expect(driven[stream].equals(all)).toBe(true)
      })

      test('does not harm a character that is written in two halves', async () => {
        const code = `printf '\\xe2\\x82'; sleep 0.05; printf '\\xac \\xf0\\x9f'; sleep 0.05; printf '\\x98\\x80'`
        const { stdout } = await bash(code)
        expect(stdout.toString()).toBe('€ 😀')
      })

      test.each([
        ['one byte below the cap', -1, 'succeeded'],
        ['exactly the cap', 0, 'succeeded'],
        ['one byte above the cap', 1, 'output_limit'],
      ] as const)('%s', async (_, beyond, outcome) => {
        const bytes = 4 * 1024 + beyond
        for (const stream of ['stdout', 'stderr'] as const) {
          const code = `import sys, time; sys.${stream}.write('x' * ${bytes}); sys.${stream}.flush()
if ${bytes} > 4096: time.sleep(60)`
          const driven = await run({ code, limits: { output_limit_kb: 4 } })
          expect(driven.outcome).toBe(outcome)
          expect(driven[stream].toString()).toBe('x'.repeat(Math.min(bytes, 4096)))
          expect(driven.totals[stream]).toMatchObject({ bytes, truncated: beyond > 0 })
        }
      })

      test('ends a program that writes without end', async () => {
        const driven = await bash('while :; do echo yes; done', { limits: { output_limit_kb: 16 } })
        expect(driven.outcome).toBe('output_limit')
        expect(driven.stdout.toString()).toBe('yes\n'.repeat(4096))
      })

      test('goes on counting where the caller asked for the beginning only', async () => {
        const code = 'import sys; sys.stdout.write("x" * 1_000_000); sys.stderr.write("done")'
        const driven = await run({ code, limits: { output_limit_kb: 4 }, on_output_limit: 'truncate' })
        expect(driven.outcome).toBe('succeeded')
        expect(driven.totals.stdout).toMatchObject({ bytes: 1_000_000, stored: 4096, truncated: true })
        expect(driven.stderr.toString()).toBe('done')
      })

      test('/dev/stdin, /dev/stdout and /dev/stderr can be opened', async () => {
        const code = 'cat /dev/stdin > /dev/stdout; echo err > /dev/stderr'
        const driven = await bash(code, { stdin: 'in' })
        expect(driven.stdout.toString()).toBe('in')
        expect(driven.stderr.toString()).toBe('err\n')
      })

      test('DI-04: programs that end at once lose no byte', { timeout: 300_000 }, async () => {
        let started = 0
        const worker = async (slot: number): Promise<void> => {
          while (started < harness.fastExits) {
            const number = ++started
            const code = `echo "head ${number}"; echo "tail ${number}" >&2; printf 'end ${number}'`
            const driven = await drive(driving(harness, { runtime: 'bash', code }, { slot }))
            expect(driven.stdout.toString()).toBe(`head ${number}\nend ${number}`)
            expect(driven.stderr.toString()).toBe(`tail ${number}\n`)
            expect(driven.outcome).toBe('succeeded')
          }
        }
        await Promise.all(Array.from({ length: harness.slots }, (_, slot) => worker(slot)))
      })
    })

    describe('how it ended', () => {
      test.each([0, 1, 2, 126, 127, 128, 130, 137, 255])('exit code %i', async (code) => {
        const { outcome, end } = await bash(`exit ${code}`)
        expect(end).toMatchObject({ exit_code: code, signal: null, phase: 'run' })
        expect(outcome).toBe(code === 0 ? 'succeeded' : 'failed')
      })

      test.each(['SIGTERM', 'SIGSEGV', 'SIGKILL', 'SIGINT', 'SIGPIPE', 'SIGHUP'])(
        '%s of its own',
        async (signal) => {
          const code = `import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL); print('before', flush=True); os.kill(os.getpid(), signal.${signal})`
          const { outcome, end, stdout } = await run({ code })
          expect(end).toMatchObject({ exit_code: null, signal })
          expect(outcome).toBe('failed')
          expect(stdout.toString()).toBe('before\n')
        },
      )

      test('a time limit, with what it had written', async () => {
        const { outcome, end, stdout, stderr } = await bash('echo out; echo err >&2; sleep 60', {
          timeout_sec: 0.5,
        })
        expect(outcome).toBe('timed_out')
        expect(end).toMatchObject({ exit_code: null, signal: 'SIGKILL' })
        expect([stdout.toString(), stderr.toString()]).toEqual(['out\n', 'err\n'])
      })

      test('a program that ignores every signal it can', async () => {
        const code = `import signal, time
for s in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(s, signal.SIG_IGN)
print('ready', flush=True); time.sleep(60)`
        const { outcome, stdout } = await run({ code, timeout_sec: 1 })
        expect(outcome).toBe('timed_out')
        expect(stdout.toString()).toBe('ready\n')
      })

      test('a cancel, at once', async () => {
        const { outcome, end } = await run(
          { runtime: 'bash', code: 'trap "" TERM INT; echo ready; while :; do sleep 60; done' },
          { watch: (_, text, stop) => text.includes('ready') && stop('canceled') },
        )
        expect(outcome).toBe('canceled')
        expect(end).toMatchObject({ exit_code: null, signal: 'SIGKILL' })
      })

      test('refused at the last moment: nothing runs', async () => {
        const starting = (): void => {
          throw new NotStarted('no longer')
        }
        await expect(run({ runtime: 'bash', code: 'sleep 60' }, { starting })).rejects.toThrow(NotStarted)
      })
    })

    describe('descendants', () => {
      test('a background child that holds the output does not delay the end, and dies', async () => {
        const { outcome, stdout } = await bash('echo before; sleep 300 & echo after')
        expect(outcome).toBe('succeeded')
        expect(stdout.toString()).toBe('before\nafter\n')
      })

      test('children that left session and parent die, however the run ends', async () => {
        const escape =
          'for n in 1 2 3; do (setsid sh -c "sleep 300 & sleep 300" >/dev/null 2>&1 &); done; echo gone'
        const ends = [await bash(escape), await bash(`${escape}; exec sleep 60`, { timeout_sec: 0.5 })]
        expect(ends.map(({ outcome }) => outcome)).toEqual(['succeeded', 'timed_out'])
        const canceled = await run(
          { runtime: 'bash', code: `${escape}; exec sleep 60` },
          { watch: (_, text, stop) => text.includes('gone') && stop('canceled') },
        )
        expect(canceled.outcome).toBe('canceled')
      })

      test.skipIf('endless forks' in exceptions)('children that fork without end die', async () => {
        const code = `import os, sys, time
end = time.time() + 20
if os.fork() == 0:
    while time.time() < end:
        if os.fork(): os._exit(0)
        os.setsid()
time.sleep(0.3)`
        expect((await run({ code })).outcome).toBe('succeeded')
      })
    })

    describe('input', () => {
      test('1 MiB of code', async () => {
        const code = `text = ${JSON.stringify('é'.repeat(512 * 1024))}\nprint(len(text))`
        expect((await run({ code })).stdout.toString()).toBe('524288\n')
      })

      test('1 MiB of standard input, back as it was', async () => {
        const stdin = 'a line\n€ 😀\u0000\n'.repeat(70_000)
        const { stdout } = await bash('cat', { stdin, limits: { output_limit_kb: 8_192 } })
        expect(stdout.equals(Buffer.from(stdin))).toBe(true)
      })

      test.each([
        ['not read', 'echo done'],
        ['closed early', 'read -r first; exec 0<&-; echo done'],
      ])('standard input that is %s', async (_, code) => {
        const { outcome, stdout } = await bash(code, { stdin: 'line\n'.repeat(400_000) })
        expect(outcome).toBe('succeeded')
        expect(stdout.toString()).toBe('done\n')
      })

      test('standard input without content ends at once', async () => {
        expect((await bash('cat; echo end')).stdout.toString()).toBe('end\n')
      })

      test('arguments as they are', async () => {
        const args = [
          '',
          ' two  words ',
          "it's",
          '"$HOME" `id` $(id) \\',
          '-x',
          '--help',
          'line\nbreak',
          'é 😀',
          '*',
        ]
        const { stdout } = await run({ code: 'import sys, json; print(json.dumps(sys.argv[1:]))', args })
        expect(JSON.parse(stdout.toString())).toEqual(args)
      })

      test('10,000 arguments', async () => {
        const args = Array.from({ length: 10_000 }, (_, index) => `argument ${index}`)
        const { stdout } = await bash('echo $#; echo "${!#}"', { args })
        expect(stdout.toString()).toBe('10000\nargument 9999\n')
      })

      test('environment variables as they are, and none of the agent', async () => {
        process.env['CONTRACT_SECRET'] = 'of the agent'
        const env = {
          QUOTES: `it's "$HOME" \`id\` \\ \n end `,
          UNICODE: Array.from({ length: 0x800 }, (_, index) => String.fromCodePoint(index + 1)).join(''),
          EMPTY: '',
          // names that shells treat in their own way
          OPTIND: 'x',
          PPID: 'x',
          UID: 'x',
          IFS: 'x',
          PS4: 'x',
          LD_PRELOAD: '/nowhere.so',
          LC_ALL: 'C.UTF-8',
          PATH: '/usr/bin:/nowhere',
        }
        const code = 'import os, json; print(json.dumps(dict(os.environ)))'
        const { stdout, outcome } = await run({ code, env })
        delete process.env['CONTRACT_SECRET']
        expect(outcome).toBe('succeeded')
        const seen = JSON.parse(stdout.toString()) as Record<string, string>
        expect(seen).toMatchObject(env)
        expect(seen['CONTRACT_SECRET']).toBeUndefined()
      })

      test('files with unicode, spaces and quotes in their names, in folders', async () => {
        const paths = [
          'dir with space/ünï/日本.txt',
          'a/b/c/d.txt',
          'quote\'".txt',
          '.hidden',
          '@at',
          '+plus',
          'e\u0301.txt',
        ]
        const code = `import os, json
here = [os.path.join(d, f)[2:] for d, _, fs in os.walk('.') for f in fs if f != 'mäin file.py']
print(json.dumps({p: open(p, 'rb').read().hex() for p in here}))`
        const { stdout } = await run({
          files: [
            { path: 'mäin file.py', content: code },
            ...paths.map((path, index) => ({
              path,
              content_base64: Buffer.from([index, 255]).toString('base64'),
            })),
          ],
          entrypoint: 'mäin file.py',
        })
        const expected = Object.fromEntries(
          paths.map((path, index) => [path, Buffer.from([index, 255]).toString('hex')]),
        )
        expect(JSON.parse(stdout.toString())).toEqual(expected)
      })
    })

    describe('the place it runs in', () => {
      test('has three descriptors open', async () => {
        const { stdout } = await run({ code: 'import os; print(*sorted(os.listdir("/proc/self/fd")))' })
        // and the one that lists them
        expect(stdout.toString()).toBe('0 1 2 3\n')
      })

      test('is a directory of its own that it may write to, and so are HOME and TMPDIR', async () => {
        const { stdout, outcome } = await bash('ls -A; touch here "$HOME/home" "$TMPDIR/tmp" && pwd')
        expect(outcome).toBe('succeeded')
        expect(stdout.toString()).toMatch(/^main\.sh\n\/.*\n$/)
      })

      test('goes, whatever is in it', async () => {
        const code = `import os
os.makedirs('no/permissions/at all'); open('no/permissions/file', 'w').close()
os.symlink('/etc', 'link'); os.mkfifo('fifo'); os.chmod('no/permissions', 0); os.chmod('no', 0)
for _ in range(300): os.mkdir('d' * 100); os.chdir('d' * 100)`
        expect((await run({ code })).outcome).toBe('succeeded')
      })

      test('is not shared by two at once', async () => {
        const code = 'echo $$ > mine; sleep 0.2; ls -A; [ "$(cat mine)" = $$ ]'
        const both = await Promise.all(
          [0, 1].map((slot) => drive(driving(harness, { runtime: 'bash', code }, { slot }))),
        )
        expect(both.map(({ end }) => end.exit_code)).toEqual([0, 0])
      })
    })

    test.each(languages)('$runtime: input, arguments and a second file', async ({ runtime, program }) => {
      const { stdout, stderr, end } = await run({ runtime, ...program, stdin: 'Ada\n', args: ['x y', '$z'] })
      expect(stderr.toString()).toBe('')
      expect(stdout.toString()).toBe('hello Ada [x y] [$z]\n')
      expect(end).toMatchObject({ exit_code: 0, phase: 'run' })
      expect(end.runtime_id).toMatch(new RegExp(`^${runtime}\\d+(\\.\\d+)*$`))
    })

    test.each(languages)('$runtime: a crash', async ({ runtime, crash, crashed, says }) => {
      const { outcome, end, stdout, stderr } = await run({ runtime, code: crash })
      expect(outcome).toBe('failed')
      expect(end).toMatchObject({ phase: 'run', ...crashed })
      expect(stdout.toString()).toBe('before\n')
      expect(stderr.toString()).toMatch(says)
    })

    test.each(wrongPrograms)('$runtime: code that does not compile', async ({ runtime, code }) => {
      const { outcome, end, stdout, stderr } = await run({ runtime, code })
      expect(outcome).toBe('failed')
      expect(end).toMatchObject({ phase: 'compile', signal: null, compile: { signal: null } })
      expect(end.exit_code).not.toBe(0)
      expect(end.compile!.exit_code).toBe(end.exit_code)
      expect(end.compile!.stdout + end.compile!.stderr).toMatch(/error|undefined|declared/i)
      expect([stdout.length, stderr.length]).toEqual([0, 0])
    })

    test('a compile step that prints too much is cut, and its program runs', async () => {
      const warnings = Array.from({ length: 5_000 }, (_, index) => `#warning number ${index}`).join('\n')
      const { outcome, end } = await run({ runtime: 'c', code: `${warnings}\nint main(void) { return 0; }` })
      expect(outcome).toBe('succeeded')
      expect(end.compile).toMatchObject({ exit_code: 0, stdout: '', truncated: true })
      expect(end.compile!.stderr.length).toBe(64 * 1024)
    })

    test(
      'a compile step that does not end in its time is a time limit of that phase',
      { timeout: 60_000 },
      async () => {
        const { outcome, end } = await run({ runtime: 'c', code: endlessCompile }, { compileLimitMs: 1 })
        expect(outcome).toBe('timed_out')
        expect(end).toMatchObject({ phase: 'compile', compile: { exit_code: null, signal: 'SIGKILL' } })
      },
    )
  })
}
