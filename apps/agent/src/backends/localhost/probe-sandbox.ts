import { existsSync } from 'node:fs'
import { ExecaError } from 'execa'
import { runTool } from '../run-tool.ts'

export interface SandboxProbe {
  bwrap: string
  options: readonly string[]
  uid: number | undefined
}

/** Makes a sandbox with nothing in it. Undefined when that works; else what is missing and what would mend it. */
export async function probeSandbox({ bwrap, options, uid }: SandboxProbe): Promise<string | undefined> {
  if (!existsSync(bwrap))
    return `the sandbox is missing: ${bwrap} is not installed (apt-get install bubblewrap)`
  try {
    await runTool(bwrap, [...options, '--', '/bin/sh', '-c', ':'], { uid })
    return undefined
  } catch (error) {
    const reason = error instanceof ExecaError ? error.all || error.shortMessage : String(error)
    const oneLine = reason.replace(/[\s\u0000-\u001f\u007f-\u009f]+/g, ' ').trim()
    return (
      `the sandbox is missing: bubblewrap does not work here: ${oneLine.slice(0, 500)} ` +
      '(it needs version 0.8 or later, and unprivileged user namespaces: sysctl user.max_user_namespaces, ' +
      'kernel.unprivileged_userns_clone=1 or kernel.apparmor_restrict_unprivileged_userns=0)'
    )
  }
}
