import { agentPolicy, isKeyPath, type AgentPolicy } from '@errand/shared'
import type { ConfiguredExecutor } from './configured-executors.ts'

/**
 * The policy of the agent that `npm start` runs: what the operator wrote in `config.yaml` is allowed, what comes by
 * REST is not. Paths are as written there.
 *
 * A root agent runs user code under other uids, which can read nothing of the API's: only where the agent is not
 * root does user code share the API's user.
 */
export function localAgentPolicy(
  executors: readonly ConfiguredExecutor[],
  { sharesApiUser, root }: { sharesApiUser: boolean; root: boolean },
): AgentPolicy {
  const all = executors.map((one) => one.settings)
  const docker = all.filter((one) => one.executor_type === 'docker')
  const ssh = all.filter((one) => one.executor_type === 'ssh')
  const localhost = all.filter((one) => one.executor_type === 'localhost')
  return agentPolicy.parse({
    allow_unsandboxed: localhost.some((one) => one.sandbox === 'none') ? 'config' : false,
    shares_api_user: sharesApiUser && !root,
    work_dirs: given(localhost.map((one) => one.work_dir)),
    code_executor_paths: given(all.map((one) => one.code_executor_path)),
    private_key_paths: given(ssh.map((one) => one.private_key)).filter(isKeyPath),
    images: given(docker.map((one) => one.image)),
    index_dirs: given(all.map((one) => one.index_dir)),
  })
}

function given(values: readonly (string | undefined)[]): string[] {
  return [...new Set(values.filter((one) => one !== undefined))]
}
