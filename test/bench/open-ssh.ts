import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SshServer } from '../../infra/ssh-server.ts'
import { until } from '../system/harness/until.ts'
import { bareSpawn } from './bare-spawn.ts'

/** The real client: with a connection for each run, and with one that all runs share. */
export async function openSsh(server: SshServer, command: string, expected: string) {
  const dir = mkdtempSync(join(tmpdir(), 'errand-bench-ssh-'))
  const file = (name: string, content: string): string => {
    writeFileSync(join(dir, name), content, { mode: 0o600 })
    return join(dir, name)
  }
  const known = file('known', `[${server.host}]:${server.port} ${server.hostKey}\n`)
  const control = join(dir, 'control')
  const options = [`UserKnownHostsFile=${known}`, 'IdentitiesOnly=yes', 'LogLevel=ERROR']
  const login = ['-F', 'none', '-i', file('key', server.privateKey), '-p', String(server.port)]
  const words = [...login, ...options.flatMap((one) => ['-o', one])]
  const where = `${server.username}@${server.host}`
  const master = spawn('ssh', [...words, '-M', '-N', '-S', control, where], { stdio: 'ignore' })
  await until('the shared connection is open', () => existsSync(control))
  return {
    subjects: [
      {
        name: 'OpenSSH, multiplexed',
        run: bareSpawn(['ssh', ...words, '-S', control, where, command], expected),
      },
      { name: 'OpenSSH, fresh', run: bareSpawn(['ssh', ...words, '-S', 'none', where, command], expected) },
    ],
    async close() {
      const ended = once(master, 'exit')
      master.kill()
      await ended
      rmSync(dir, { recursive: true })
    },
  }
}
