import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { ConfigFile } from '@errand/shared'
import { ConfigRefused } from './config-refused.ts'
import { configuredExecutors, type ConfiguredExecutor } from './configured-executors.ts'
import { readConfigFile } from './read-config-file.ts'
import { readSettings, type Settings } from './settings.ts'

export interface Config {
  /** Where the file is; undefined where there is none. */
  path: string | undefined
  file: ConfigFile
  settings: Settings
  executors: ConfiguredExecutor[]
}

/**
 * What the operator set: `config.yaml` (`path`, else ERRAND_CONFIG, else `./config.yaml`, which alone may be
 * absent), overridden by the environment. Secrets are in it in the clear.
 *
 * @throws {ConfigRefused} with every reason at once: `file:line:column path: reason`, or the variable's name
 */
export function loadConfig({ path, env }: { path?: string; env: NodeJS.ProcessEnv }): Config {
  const named = path ?? (env['ERRAND_CONFIG'] || undefined)
  const used = resolve(named ?? 'config.yaml')
  const text = named === undefined && !existsSync(used) ? undefined : readText(used)
  const reasons: string[] = []
  const refuse = (reason: string): void => void reasons.push(reason)
  const file = readConfigFile({ path: used, text: text ?? '', env, refuse })
  const settings = readSettings({ file: file.server, fileDir: dirname(used), env, refuse })
  if (reasons.length > 0) throw new ConfigRefused(reasons)
  return {
    path: text === undefined ? undefined : used,
    file,
    settings,
    executors: configuredExecutors(file),
  }
}

function readText(path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    throw new ConfigRefused([`${path}: cannot be read (${code})`])
  }
}
