import { localhostExecutor } from '@errand/shared'
import { drive } from './drive.ts'
import { tag } from './harness.ts'
import { openLocalhost } from './open-localhost.ts'

/** A process that runs a program for ever, as an agent would: the test kills it. */
const [, , agentDir = '', workDir = '', sandbox = '', value = ''] = process.argv
const { backend } = await openLocalhost({ agentDir, workDir })
await drive({
  backend,
  settings: localhostExecutor.parse({ sandbox, work_dir: workDir, runtime: 'bash' }),
  submission: {
    runtime: 'bash',
    code: '(setsid sleep 300 &); sleep 300 & echo running; wait',
    env: { [tag.name]: value },
    timeout_sec: 300,
  },
  watch: (_, text) => process.stdout.write(text),
})
