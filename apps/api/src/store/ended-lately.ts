import type { Outcome } from '@errand/shared'
import type { Database } from './database.ts'

/** What ended in one minute, with its beginning in Unix milliseconds. */
export interface Minute {
  beginsAt: number
  ended: readonly { project: string; outcome: Outcome; count: number }[]
}

export const minuteMs = 60_000
const minutes = 60

/**
 * Executions that ended in the 60 minutes up to `now`, oldest minute first. A minute that is over is read once: a
 * statement for each keeps them short, and after the first time only the newest two are read.
 */
export function createEndedLately(db: Database): (now: Date) => Promise<Minute[]> {
  let over = new Map<number, Minute>()

  return async (now) => {
    const current = now.getTime() - (now.getTime() % minuteMs)
    const found: Minute[] = []
    for (let n = minutes - 1; n >= 0; n--) {
      const beginsAt = current - n * minuteMs
      found.push(over.get(beginsAt) ?? (await readMinute(db, beginsAt)))
    }
    // A statement that was under way at its end may still have brought something into the last one.
    over = new Map(found.slice(0, -2).map((one) => [one.beginsAt, one]))
    return found
  }
}

async function readMinute(db: Database, beginsAt: number): Promise<Minute> {
  const ended = await db.query<Minute['ended'][number]>(minuteStatement, [beginsAt, beginsAt + minuteMs])
  return { beginsAt, ended }
}

const minuteStatement = `
select project, outcome, count(*) as count from jobs
where outcome is not null and type = 'code.execute'
  and ended_at >= to_timestamp($1::float8 / 1000) and ended_at < to_timestamp($2::float8 / 1000)
group by 1, 2`
