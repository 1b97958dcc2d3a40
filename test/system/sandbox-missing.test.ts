import { describe, expect, it } from 'vitest'
import { agentForTest, apiForTest, databases } from './harness/for-test.ts'

/** Becomes the agent, on a host where bubblewrap is a file that cannot be executed. */
const withoutBubblewrap = [
  'unshare',
  ...(process.getuid?.() === 0 ? [] : ['--map-current-user', '--keep-caps']),
  '--mount',
  'sh',
  '-c',
  'mount --bind /dev/null /usr/bin/bwrap && exec "$0" "$@"',
]
const executors = { code_executors: { local: { sandboxed: {}, plain: { sandbox: 'none' } } } }

describe.each(databases)('an agent whose host has no working sandbox, on %s', (database) => {
  it('says what is missing, and rejects at once what must be sandboxed', async () => {
    const api = await apiForTest({ database, config: JSON.stringify(executors) })
    const agent = await agentForTest({ api, within: withoutBubblewrap })
    const backend = (await agent.record())?.report?.backends.localhost
    expect(backend).toMatchObject({ available: true, isolation: null })
    expect(backend?.missing.join()).toContain('the sandbox is missing')
    const record = await api.client.run({ executor: 'sandboxed', code: 'print(1)' })
    expect(record).toMatchObject({ outcome: 'rejected', attempt: 0, stdout: '', isolation: null })
    expect(record.error).toContain('the sandbox is missing')
  })

  it('runs what its policy allows unsandboxed, and rejects the rest in words', async () => {
    const api = await apiForTest({ database, config: JSON.stringify(executors) })
    await agentForTest({ api, within: withoutBubblewrap, policy: { allow_unsandboxed: true } })
    const plain = await api.client.run({ executor: 'plain', code: 'print(1)' })
    expect(plain).toMatchObject({ outcome: 'succeeded', isolation: { sandbox: 'none', seccomp: false } })
    const sandboxed = await api.client.run({ executor: 'sandboxed', code: 'print(1)' })
    expect(sandboxed).toMatchObject({ outcome: 'rejected', status: 'failed', stdout: '', isolation: null })
    expect(sandboxed.error).toContain('the sandbox is missing')
  })
})
