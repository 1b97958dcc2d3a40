import type { TimeConstants } from '@errand/shared'
import type { Log } from '../log.ts'
import { hint, type Hint } from './hint.ts'
import { createLetters } from './letters.ts'
import type { NoticeEvents, Notices } from './notices.ts'

/** The other replicas, as this one knows of them. */
export interface Others {
  /** Lets them know, soon. Costs nothing where there are none. */
  tell(hint: Hint): void
  /** How many there are; undefined while nobody can know. */
  readonly count: number | undefined
  /** There may be others from now on: `heed` is called for what they tell. Without, there are none. */
  listen(open: (events: NoticeEvents) => Notices, heed: (hint: Hint) => void): void
  close(): Promise<void>
}

/** More than this at once says no more than that everything is to be looked at. */
const mostHints = 10_000

/**
 * Hints go out gathered: the first at once, those of the next milliseconds together in one statement, each once. For
 * NOTIFY takes a lock over the whole database at its commit, and no transaction that matters may wait for that. Hints
 * that could not be sent become one, that some were lost; so do those that were not heard while this one did not listen.
 */
export function createOthers({ time, log }: { time: Pick<TimeConstants, 'hintEveryMs'>; log: Log }): Others {
  const gathered = new Set<string>()
  const letters = createLetters(crypto.randomUUID())
  let notices: Notices | undefined
  let someLost = false
  let sending = false

  return {
    tell,
    get count() {
      return count()
    },
    listen(open, heed) {
      notices = open({
        heard(text) {
          for (const one of letters.read(text) ?? []) {
            const known = hint.safeParse(one)
            if (known.success) heed(known.data)
          }
        },
        opened() {
          letters.forget()
          heed({ type: 'all' })
          if (someLost) tell({ type: 'all' })
        },
      })
    },
    async close() {
      const closing = notices
      notices = undefined
      await closing?.close()
    },
  }

  function count(): number | undefined {
    return notices === undefined ? 0 : notices.others
  }

  function tell(given: Hint): void {
    const there = count()
    if (there === 0) return
    if (there === undefined) return void (someLost = true)
    gathered.add(JSON.stringify(given))
    if (sending) return
    sending = true
    // With what else this turn has to tell.
    queueMicrotask(() => void send())
  }

  async function send(): Promise<void> {
    while (gathered.size > 0) {
      const hints = someLost || gathered.size > mostHints ? [all] : [...gathered]
      gathered.clear()
      someLost = false
      await notices?.send(letters.write(hints)).catch((error: unknown) => {
        someLost = true
        log.debug({ err: error, hints: hints.length }, 'could not tell the other replicas')
      })
      await new Promise((resolve) => setTimeout(resolve, time.hintEveryMs))
    }
    sending = false
  }
}

const all = JSON.stringify({ type: 'all' } satisfies Hint)
