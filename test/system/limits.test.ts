import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { databases, sharedCircle } from './harness/for-test.ts'

const executor = 'local_python_default'

describe.each(databases)('an execution, on %s', (database) => {
  const circle = sharedCircle({ database, slots: 4 })

  it('that runs too long ends within five seconds after its limit, and keeps what it printed', async () => {
    const { api } = circle
    const begun = performance.now()
    const records = await Promise.all(
      [0.5, 1, 1.5, 2].map((timeout_sec) =>
        api.client.run({
          executor,
          code: 'import sys, time\nprint("partial", flush=True)\nprint("too", file=sys.stderr, flush=True)\ntime.sleep(600)',
          timeout_sec,
        }),
      ),
    )
    expect(performance.now() - begun).toBeLessThan(7_000)
    for (const [index, record] of records.entries()) {
      expect(record).toMatchObject({
        status: 'timeout',
        outcome: 'timed_out',
        completed: true,
        success: false,
        phase: 'run',
        stdout: 'partial\n',
        stderr: 'too\n',
      })
      const timeoutSec = [0.5, 1, 1.5, 2][index]!
      expect(record.duration_sec).toBeGreaterThanOrEqual(timeoutSec)
      expect(record.duration_sec).toBeLessThan(timeoutSec + 5)
    }
  })

  it('that nobody takes in time is rejected, and says so', async () => {
    const { api, agent } = circle
    await api.client.post(`/agents/${agent.id}/drain`)
    const { id } = await api.client.submit({ executor, code: 'pass', expires_in_sec: 1 })
    const record = await api.client.final(id)
    await api.client.post(`/agents/${agent.id}/resume`)
    expect(record).toMatchObject({ status: 'failed', outcome: 'rejected', attempt: 0, completed: false })
    expect(record.error).toContain('waited longer than expires_in_sec')
  })

  it('takes and gives megabytes', async () => {
    const { api } = circle
    const megabyte = 1024 * 1024
    const comment = `# ${'é'.repeat(megabyte / 2)}`
    const stdin = 'line\n'.repeat(megabyte / 5)
    const code = `${comment}\nimport hashlib, sys\ntext = sys.stdin.buffer.read()\nprint(hashlib.sha256(text).hexdigest())\nsys.stderr.write(open(__file__, encoding='utf-8').readline())`
    const record = await api.client.run({ executor, code, stdin, limits: { output_limit_kb: 1024 } })
    expect(record).toMatchObject({ outcome: 'output_limit', stderr_truncated: true, stdout_truncated: false })
    expect(record.stdout_bytes).toBe(65)

    const whole = await api.client.run({ executor, code: code.replace(/^sys\.stderr.*/m, ''), stdin })
    expect(whole).toMatchObject({
      outcome: 'succeeded',
      stdout: `${createHash('sha256').update(stdin).digest('hex')}\n`,
    })
    const request = await api.client.request('GET', `/executions/${whole.id}/request`)
    expect(((await request.json()) as { stdin: string }).stdin).toBe(stdin)
  })
})
