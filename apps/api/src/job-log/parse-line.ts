import { z } from 'zod'
import { type JobLogLine, jobLogLine, shownLine } from '@errand/shared'

/** What a line of a log says. `time` (Unix milliseconds) is undefined where it does not tell. */
export interface ParsedLine extends Pick<JobLogLine, 'level' | 'message'> {
  time: number | undefined
}

/** The longest message that is shown, in UTF-16 units. */
const longestMessage = 8_192

const written = z.object({ time: z.iso.datetime(), level: jobLogLine.shape.level, message: z.string() })

/** A line as an agent wrote it. What is none of ours is shown as it is; what could steer a terminal never. */
export function parseLine(bytes: Uint8Array): ParsedLine {
  const text = new TextDecoder().decode(bytes)
  const { data } = written.safeParse(jsonOf(text))
  const message = shownLine(data?.message ?? text, longestMessage)
  if (data === undefined) return { time: undefined, level: 'info', message }
  return { time: Date.parse(data.time), level: data.level, message }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
