import type { ConfiguredExecutor } from '@errand/host/config/configured-executors'
import type { ExecutionRecord, RuntimeName } from '@errand/shared'
import type { Rest } from './rest.ts'

const hello: Partial<Record<RuntimeName, string>> = {
  python: 'import platform\nprint("Hello from Errand, by Python", platform.python_version())',
  node: 'console.log("Hello from Errand, by Node", process.versions.node)',
  bash: 'echo "Hello from Errand, by Bash $BASH_VERSION"',
}

/** What the first execution is to run on: `local_python_default`, else the first on this machine that we can greet in. */
export function firstExecutor(executors: readonly ConfiguredExecutor[]): ConfiguredExecutor | undefined {
  const able = executors.filter(
    ({ settings }) =>
      settings.executor_type === 'localhost' && settings.enabled && hello[settings.runtime] !== undefined,
  )
  return able.find((one) => one.name === 'local_python_default') ?? able[0]
}

/** Runs it through the whole circle, and returns what there is to tell about it. */
export async function firstExecution(rest: Rest, { name, settings }: ConfiguredExecutor): Promise<string> {
  const record = await rest.post<ExecutionRecord>(
    '/executions',
    { executor: name, code: hello[settings.runtime], labels: { purpose: 'first-execution' } },
    { prefer: 'wait=30' },
  )
  const { outcome, status, stdout, stderr, error, waiting_reason, isolation, duration_sec } = record
  const how =
    outcome === 'succeeded' ? ` in ${duration_sec?.toFixed(2)} s, sandbox: ${isolation?.sandbox}` : ''
  const why = [error ?? waiting_reason ?? '', stdout, stderr].join('\n').trim()
  return `First execution, on ${name}: ${outcome ?? status}${how}\n${why.replaceAll(/^/gm, '    ')}`
}
