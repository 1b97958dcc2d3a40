import { configFile, fieldsToCome, type ConfigFile } from '@errand/shared'
import type { z } from 'zod'
import { readSecretFiles } from './secret-files.ts'
import { substituteEnvironment, type Substituted } from './substitute-environment.ts'
import { parseYaml, type Path } from './parse-yaml.ts'
import { reasonsOf } from './schema-reasons.ts'

/**
 * The text of `config.yaml` as a checked configuration. Every reason against it goes to `refuse`; after one the
 * returned configuration is an empty one.
 */
export function readConfigFile(given: {
  path: string
  text: string
  env: NodeJS.ProcessEnv
  refuse: (reason: string) => void
}): ConfigFile {
  const { path, text, env } = given
  const yaml = parseYaml(text)
  const refused: Path[] = []
  const refuse = (at: Path, reason: string): void => {
    // What was refused already (a variable that is not set) needs no second complaint about its type.
    if (refused.some((one) => JSON.stringify(one) === JSON.stringify(at))) return
    refused.push(at)
    given.refuse(`${path}:${yaml.locate(at)} ${at.length > 0 ? `${at.join('.')}: ` : ''}${reason}`)
  }
  if (yaml.errors.length > 0) {
    for (const { position, message } of yaml.errors) given.refuse(`${path}:${position} ${message}`)
    return configFile.parse({})
  }
  const substituted = substituteEnvironment(yaml, env, refuse)
  const value: unknown = yaml.document.toJS() ?? {}
  readSecretFiles(value, { path, env, refuse })
  const checked = check(value, substituted)
  if (checked.success) {
    refuseSameNames(checked.data, refuse)
    refuseFieldsToCome(checked.data, refuse)
  } else {
    for (const { at, reason } of reasonsOf(checked.error)) refuse(at, reason)
  }
  return checked.success && refused.length === 0 ? checked.data : configFile.parse({})
}

/**
 * What came from the environment is text, so that a password of digits stays a password. Only where the schema
 * wants a number or a boolean, and the scalar stood unquoted, is it read as one.
 */
function check(value: unknown, substituted: readonly Substituted[]): z.ZodSafeParseResult<ConfigFile> {
  const first = configFile.safeParse(value)
  if (first.success) return first
  for (const issue of first.error.issues) {
    if (issue.code !== 'invalid_type' || !['number', 'int', 'boolean'].includes(issue.expected)) continue
    const found = substituted.find((one) => JSON.stringify(one.path) === JSON.stringify(issue.path))
    if (found?.plain) replace(value, found.path, resolved(found.text))
  }
  return configFile.safeParse(value)
}

function resolved(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true'
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text
}

function replace(root: unknown, path: Path, value: unknown): void {
  let parent = root as Record<PropertyKey, unknown>
  for (const key of path.slice(0, -1)) parent = parent[key] as Record<PropertyKey, unknown>
  parent[path.at(-1)!] = value
}

/** Executors share one space of names, whatever their type. */
function refuseSameNames(file: ConfigFile, refuse: (at: Path, reason: string) => void): void {
  const seen = new Map<string, string>()
  for (const [section, executors] of Object.entries(file.code_executors ?? {})) {
    for (const name of Object.keys(executors)) {
      const other = seen.get(name)
      if (other === undefined) seen.set(name, section)
      else refuse(['code_executors', section, name], `is the name of an executor in ${other} too`)
    }
  }
}

/** Never silently ignored: who sets it relies on it. */
function refuseFieldsToCome(file: ConfigFile, refuse: (at: Path, reason: string) => void): void {
  for (const [section, executors] of Object.entries(file.code_executors ?? {}))
    for (const [name, settings] of Object.entries(executors))
      for (const field of fieldsToCome(settings))
        refuse(['code_executors', section, name, field], 'is not available yet')
}
