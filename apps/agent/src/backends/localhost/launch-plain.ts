import { runTool } from './run-tool.ts'
import type { Command, Ended, Ends, Exit, Launch } from './launch.ts'
import { kill, killAll, markedBy, ofUid } from './processes.ts'

/** The variable that tells an agent's processes from others where they have no uid of their own. */
export const agentMark = 'ERRAND_AGENT'
const runMark = 'ERRAND_RUN'

/** Started as it is, on the host: under the slot's uid where there is one, else marked in its environment. */
export function launchPlain(
  command: Command,
  ends: Ends,
  who: { uid: number } | { agent: string; run: string },
): Launch {
  const [file = '', ...args] = command.words
  const marks: Record<string, string> = 'uid' in who ? {} : { [agentMark]: who.agent, [runMark]: who.run }
  return {
    file,
    args,
    env: { ...command.env, ...marks },
    cwd: command.dir.work,
    stdio: [ends.stdin, ends.stdout, ends.stderr],
    async settle(ended) {
      kill(-ended.pid)
      const since = ended.ms < pidsLastMs ? ended.pid : undefined
      if ('uid' in who) await killAll(ofUid(who.uid), { since, overwhelm: () => killAsUser(who.uid) })
      else await killAll(markedBy(runMark, who.run), { since })
      return exitOf(ended)
    },
    close() {},
  }
}

/** Numbers are given out anew from the lowest once all are used; no program can use all in this time. */
const pidsLastMs = 250

/** In one act of the kernel, which a program that forks without end can't outrun. */
async function killAsUser(uid: number): Promise<void> {
  await runTool('/bin/sh', ['-c', 'kill -KILL -1'], { uid }).catch(() => {})
}

/** Node shows a real-time signal, which it has no name for, as exit code 0; in the sandbox it is told apart. */
function exitOf({ exitCode, signal }: Ended): Exit {
  if (exitCode !== undefined) return { exitCode, signal: null }
  return { exitCode: null, signal: signal ?? 'SIGKILL' }
}
