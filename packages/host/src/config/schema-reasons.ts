import type { z } from 'zod'
import type { Path } from './parse-yaml.ts'

/** The refusals of a schema in words for the operator, each at its own path. */
export function reasonsOf(error: z.ZodError): { at: Path; reason: string }[] {
  return error.issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({ at: [...issue.path, key], reason: 'is not a known key' }))
    if (issue.code === 'invalid_key')
      return issue.issues.map((inner) => ({ at: issue.path, reason: inner.message }))
    return [{ at: issue.path, reason: inWords(issue.message) }]
  })
}

function inWords(message: string): string {
  if (message.endsWith('received undefined')) return 'is required'
  if (message.endsWith('received null')) return 'is empty'
  return message.replace(/^Invalid (input|option): /, '')
}
