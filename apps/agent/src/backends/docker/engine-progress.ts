import { z } from 'zod'

/** What the Engine tells of something long while it does it. */
export interface EngineProgress {
  /** What it speaks of: of an image, the layer; absent where it speaks of all. */
  id: string | undefined
  status: string
  /** Bytes. */
  current: number | undefined
  total: number | undefined
}

/**
 * Reads an answer that began with status 200 and tells of its progress, a JSON object a line.
 *
 * @throws with the Engine's words in `json.message`, as dockerode does, when it tells of an error
 */
export async function* engineProgress(stream: AsyncIterable<Uint8Array>): AsyncGenerator<EngineProgress> {
  for await (const line of linesOf(stream)) {
    const { id, status, progressDetail, error, errorDetail } = told.parse(JSON.parse(line))
    if (error !== undefined || errorDetail !== undefined) {
      const message = errorDetail?.message ?? error ?? 'it failed, and did not say why'
      throw Object.assign(new Error(message), { json: { message } })
    }
    // Some things are counted in seconds.
    const { current, total } = progressDetail?.units === undefined ? (progressDetail ?? {}) : {}
    yield { id, status, current, total }
  }
}

/** Of a kind that we do not expect it is as good as absent; an error of any kind is one. */
const text = z.string().optional().catch(undefined)
const number = z.number().optional().catch(undefined)
const told = z.object({
  id: text,
  status: z.string().catch(''),
  progressDetail: z.object({ current: number, total: number, units: text }).optional().catch(undefined),
  error: z
    .string()
    .nullish()
    .catch('')
    .transform((error) => error ?? undefined),
  errorDetail: z
    .object({ message: text })
    .nullish()
    .catch({ message: undefined })
    .transform((detail) => detail ?? undefined),
})

async function* linesOf(stream: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n')
    rest = lines.pop()!
    if (rest.length > longestLine) throw new Error('a line without an end')
    yield* lines.filter(isSomething)
  }
  if (isSomething(rest)) yield rest
}

function isSomething(line: string): boolean {
  return line.trim() !== ''
}

const longestLine = 1_048_576
