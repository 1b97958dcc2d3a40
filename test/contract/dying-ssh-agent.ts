import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SshExecutor, SubmissionBody } from '@errand/shared'
import type { SshServer } from '../../infra/ssh-server.ts'
import { drive } from './drive.ts'
import { openSsh } from './open-ssh.ts'

export interface Dying {
  agentDir: string
  spoolId: string
  /** The target has no box. */
  shell: boolean
  home: string
  settings: SshExecutor
  programs: Omit<SubmissionBody, 'executor'>[]
}

/**
 * A process that runs programs on a target, as an agent would, and keeps in its directory what that has in its spool: the
 * test kills it.
 */
const given = JSON.parse(process.argv[2] ?? '') as Dying
const { backend } = await openSsh({
  agentDir: given.agentDir,
  spoolId: given.spoolId,
  server: { home: given.home } as SshServer,
  ...(given.shell && { choices: { findBox: () => Promise.resolve(undefined) } }),
})
given.programs.forEach((submission, number) => {
  const file = (name: string): string => join(given.agentDir, `${name}-${number}`)
  const seen = { stdout: 0, stderr: 0 }
  void drive({
    backend,
    settings: given.settings,
    submission,
    slot: number,
    starting(assignment, kept) {
      // Of the first call only.
      if (kept) writeFileSync(file('started'), JSON.stringify({ assignment, kept }))
    },
    watch(stream, text) {
      appendFileSync(file(stream), text.slice(seen[stream]))
      seen[stream] = text.length
    },
  })
})
