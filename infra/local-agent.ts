import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Config } from '@errand/host/config/load-config'
import { localAgentPolicy } from '@errand/host/config/local-agent-policy'
import { enrolled, type Agent } from '@errand/shared'
import type { Rest } from './rest.ts'

/**
 * The environment with which the agent beside the API is to be started; undefined where the API does not know the
 * agent of this directory. That one was revoked, or belongs to another database: whoever revoked it does not expect
 * a restart to let it in again, so a person has to remove its directory.
 */
export async function prepareLocalAgent(
  { settings, executors }: Config,
  rest: Rest,
): Promise<NodeJS.ProcessEnv | undefined> {
  const dir = localAgentDir(settings.dataDir)
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const root = process.getuid?.() === 0
  const policy = localAgentPolicy(executors, { sharesApiUser: true, root })
  writeFileSync(
    join(dir, 'agent-policy.yaml'),
    // JSON is YAML.
    `# Written by npm start from config.yaml at each start.\n${JSON.stringify(policy, null, 2)}\n`,
  )
  const environment = { ...withoutSecretsOfTheApi(process.env), ERRAND_URL: rest.url, ERRAND_AGENT_DIR: dir }
  const id = enrolledId(dir)
  if (id !== undefined) return (await rest.get(`/agents/${id}`)) ? environment : undefined
  const name = await freeName(rest)
  const { token } = await rest.post<{ token: string }>('/enrollment-tokens', { name, expires_in_sec: 600 })
  return { ...environment, ERRAND_AGENT_NAME: name, ERRAND_ENROLLMENT_TOKEN: token }
}

export function localAgentDir(dataDir: string): string {
  return join(dataDir, 'agent')
}

/** The id under which the agent of `dir` is enrolled; undefined before that. */
export function enrolledId(dir: string): string | undefined {
  const path = join(dir, 'identity.json')
  return existsSync(path) ? enrolled.parse(JSON.parse(readFileSync(path, 'utf8'))).agent_id : undefined
}

function withoutSecretsOfTheApi(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const secret = /^(ERRAND_ADMIN_KEY|ERRAND_SECRET_KEY|DATABASE_URL)(_FILE)?$/
  return Object.fromEntries(Object.entries(env).filter(([key]) => !secret.test(key)))
}

/** The host's name, with a number where an agent of that name is there already. */
async function freeName(rest: Rest): Promise<string> {
  const host =
    hostname()
      .replaceAll(/[^A-Za-z0-9_.-]/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 50) || 'local'
  const agents = await rest.get<{ data: Agent[] }>('/agents')
  const taken = new Set(agents?.data.map((one) => one.name))
  let name = host
  for (let number = 2; taken.has(name); number++) name = `${host}-${number}`
  return name
}
