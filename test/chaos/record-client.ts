import { setTimeout as sleep } from 'node:timers/promises'
import { isFinal } from '@errand/shared'
import { Refused, type Client } from '../system/harness/client.ts'
import { toState, type Observation } from './history.ts'

/** What all clients of a history share. */
export interface Recorder {
  client: () => Client
  /** The file that programs append to. */
  witness: string
  random: () => number
  observations: Observation[]
  /** The number of the next submission, of so many. */
  next: number
  submissions: number
  /** Each client submits once in this time. */
  everyMs: number
  /** Aborted when all is final: nobody needs to wait any more. */
  healed: AbortController
}

/** Says that it was started, works for a while, says who it is. */
const program = `
import os, sys, time
witness, key, seconds = sys.argv[1:]
fd = os.open(witness, os.O_WRONLY | os.O_APPEND)
os.write(fd, f'{key} {os.getpid()}\\n'.encode())
time.sleep(float(seconds))
print(key)
`

/** Between two looks at an execution: longer and longer, since thousands may wait after an outage. Milliseconds. */
const lookEveryMs = 250
const lookAtLeastEveryMs = 5_000
/** After this long without an answer nobody knows what became of a request. Milliseconds. */
const patienceMs = 10_000

/** One client that submits in turn with others, and follows each of its own to the end: what settles then. */
export async function recordClient(recorder: Recorder, name: string): Promise<Promise<void>[]> {
  const following: Promise<void>[] = []
  await sleep(recorder.random() * recorder.everyMs)
  while (recorder.next < recorder.submissions) {
    const key = `key-${recorder.next++}`
    const due = performance.now() + recorder.everyMs
    const id = await submit(recorder, name, key)
    if (id !== undefined) following.push(follow(recorder, name, id))
    await sleep(Math.max(0, due - performance.now()))
  }
  return following
}

/** Undefined where it was refused, or gave up without knowing what became of it, as one of ten does. */
async function submit(recorder: Recorder, client: string, key: string): Promise<string | undefined> {
  const attempts = recorder.random() < 0.3 ? 3 : 1
  const givesUp = recorder.random() < 0.1
  const seconds = recorder.random() ** 3
  const body = {
    executor: 'plain',
    code: program,
    args: [recorder.witness, key, seconds.toFixed(3)],
    labels: { key },
    retry: { max_attempts: attempts },
  }
  for (;;) {
    const answer = await orUnknown(recorder.client().submit(body, { 'idempotency-key': key }))
    const told = typeof answer === 'object' ? { id: answer.id } : answer
    recorder.observations.push({ kind: 'submit', client, key, attempts, answer: told })
    if (typeof told === 'object') return told.id
    if (told === 'refused' || givesUp) return undefined
    await sleep(lookEveryMs)
  }
}

/** Reads what becomes of it until it is final, and once more. */
async function follow(recorder: Recorder, client: string, id: string): Promise<void> {
  let restMs = lookEveryMs
  for (let final = 0; final < 2;) {
    const record = await orUnknown(recorder.client().execution(id))
    if (typeof record === 'object') {
      recorder.observations.push({ kind: 'read', client, id, state: toState(record) })
      if (isFinal(record.status)) final += 1
    } else if (record === 'refused' || recorder.healed.signal.aborted) return
    await sleep(restMs)
    restMs = Math.min(restMs * 1.5, lookAtLeastEveryMs)
  }
}

/** `refused` promises that nothing was done; a connection that broke and an answer of 5xx promise nothing. */
async function orUnknown<T>(answer: Promise<T>): Promise<T | 'refused' | 'unknown'> {
  const late = sleep(patienceMs, 'unknown' as const, { ref: false })
  try {
    return await Promise.race([answer, late])
  } catch (error) {
    return error instanceof Refused && error.status < 500 ? 'refused' : 'unknown'
  }
}
