import { z } from 'zod'
import { dependencies } from './dependencies.ts'
import { limits } from './limits.ts'
import { runtimeName } from './runtimes.ts'
import { sizeLimits } from './size-limits.ts'
import { environment, labels, name, oneLine, plainText, seconds, wellFormed } from './text.ts'

/**
 * A relative path inside the execution's own directory: no `..`, `.` or empty parts, no leading `/` or `-`,
 * no backslash or drive, no control characters, at most 255 bytes a part and 1,024 in all.
 */
export const relativePath = oneLine(sizeLimits.path)
  .min(1)
  .refine((path) => !path.startsWith('-'), 'must not begin with -')
  .refine((path) => !/\\|^[A-Za-z]:/.test(path), 'must not contain a backslash or a drive')
  .refine((path) => path.split('/').every((part) => part !== '' && part !== '.' && part !== '..'), {
    message: 'must be relative, without empty, . or .. parts',
  })
  .refine((path) => path.split('/').every((part) => utf8Length(part) <= sizeLimits.pathSegment), {
    message: `must have at most ${sizeLimits.pathSegment} bytes in each part`,
  })

const file = z
  .strictObject({
    path: relativePath,
    content: wellFormed(sizeLimits.body).optional(),
    content_base64: z.base64().optional(),
  })
  .refine((given) => (given.content === undefined) !== (given.content_base64 === undefined), {
    message: 'needs exactly one of content and content_base64',
    path: ['content'],
  })

/**
 * The body of `POST /executions` (one of `code` and `files` with `entrypoint`). Times in seconds, sizes as named.
 * What the executor allows is checked after this, against the executor.
 */
export const submission = z
  .strictObject({
    executor: name,
    code: wellFormed(sizeLimits.body).optional(),
    files: z.array(file).min(1).max(sizeLimits.files).optional(),
    entrypoint: relativePath.optional(),
    /** The executor's own when absent. */
    runtime: runtimeName.optional(),
    args: z
      .array(plainText(131_071))
      .max(10_000)
      .refine((given) => given.reduce((sum, one) => sum + utf8Length(one) + 1, 0) <= sizeLimits.args, {
        message: `must have at most ${sizeLimits.args} bytes together`,
      })
      .default([]),
    stdin: wellFormed(sizeLimits.body).default(''),
    env: environment.default({}),
    timeout_sec: seconds.optional(),
    limits: limits.default({}),
    network: z.enum(['none', 'bridge']).optional(),
    /** Packages, where the executor allows them; beside those that it names itself. */
    dependencies: dependencies.optional(),
    artifacts: z.array(oneLine(1_024)).max(1_000).optional(),
    /** Higher first. */
    priority: z.int().min(-100).max(100).default(0),
    labels: labels.default({}),
    /** How long it may wait for an agent; then it is `rejected`. */
    expires_in_sec: z.number().min(0.001).max(31_536_000).optional(),
    retry: z.strictObject({ max_attempts: z.int().min(1).max(10).default(1) }).default({ max_attempts: 1 }),
    on_output_limit: z.enum(['kill', 'truncate']).default('kill'),
  })
  .superRefine((given, context) => {
    const issue = (path: (string | number)[], message: string) =>
      context.addIssue({ code: 'custom', path, message })
    if ((given.code === undefined) === (given.files === undefined))
      issue(['code'], 'exactly one of code and files is required')
    if (given.code !== undefined && given.entrypoint !== undefined)
      issue(['entrypoint'], 'goes with files, not with code')
    if (given.files === undefined) return
    if (given.entrypoint === undefined) issue(['entrypoint'], 'is required with files')
    else if (!given.files.some((one) => one.path === given.entrypoint))
      issue(['entrypoint'], 'must be the path of one of the files')
    const seen = new Map<string, number>()
    given.files.forEach((one, index) => {
      // Two spellings of one name would be one file on some file systems, two on others.
      const key = one.path.normalize('NFC')
      if (seen.has(key)) issue(['files', index, 'path'], `is the path of files/${seen.get(key)} too`)
      else seen.set(key, index)
    })
    given.files.forEach((one, index) => {
      const parts = one.path.normalize('NFC').split('/')
      for (let depth = 1; depth < parts.length; depth++)
        if (seen.has(parts.slice(0, depth).join('/')))
          issue(['files', index, 'path'], 'lies below a path that is a file')
    })
  })
export type Submission = z.infer<typeof submission>
export type SubmissionBody = z.input<typeof submission>

/** Fields that are in the contract but whose feature is still to come: 422 `not_available_yet`, never ignored. */
export const submissionFieldsToCome = ['network', 'artifacts'] as const satisfies (keyof Submission)[]

function utf8Length(text: string): number {
  return new TextEncoder().encode(text).length
}
