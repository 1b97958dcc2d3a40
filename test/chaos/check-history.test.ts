import { describe, expect, it } from 'vitest'
import { checkHistory, type Findings } from './check-history.ts'
import type { History, Observation, Record, State } from './history.ts'

const succeeded: State = { status: 'completed', outcome: 'succeeded', attempt: 1 }
const running: State = { status: 'running', outcome: null, attempt: 1 }
const waiting: State = { status: 'waiting', outcome: null, attempt: 0 }

const submitted = (
  key: string,
  answer: Extract<Observation, { kind: 'submit' }>['answer'] = { id: `id of ${key}` },
  attempts = 1,
): Observation => ({ kind: 'submit', client: 'c', key, attempts, answer })
const read = (key: string, state: State, client = 'c'): Observation => ({
  kind: 'read',
  client,
  id: `id of ${key}`,
  state,
})
const record = (key: string, state: State = succeeded, id = `id of ${key}`): Record => ({ ...state, id, key })

/** What is found, without what is empty. */
function found(history: Partial<History>): Partial<Findings> {
  const findings = checkHistory({ observations: [], starts: [], records: [], ...history })
  return Object.fromEntries(Object.entries(findings).filter(([, lines]) => lines.length > 0))
}

describe('the history checker', () => {
  it('finds nothing in a history that is right', () => {
    const observations = [
      submitted('a'),
      // An answer that was lost, and the same again.
      submitted('b', 'unknown', 3),
      submitted('b', { id: 'id of b' }, 3),
      submitted('c', 'refused'),
      submitted('d', 'unknown'),
      ...[waiting, running, succeeded, succeeded].map((state) => read('a', state)),
      // Another client may be behind.
      read('a', waiting, 'd'),
      // An attempt that was lost: the next begins anew.
      read('b', running),
      read('b', { ...waiting, attempt: 1 }),
      read('b', { ...running, attempt: 2 }),
    ]
    const starts = [
      { key: 'a', pid: 1 },
      { key: 'b', pid: 2 },
      { key: 'b', pid: 3 },
    ]
    const records = [record('a'), record('b', { ...succeeded, attempt: 2 })]
    expect(found({ observations, starts, records })).toEqual({})
  })

  it.each<[string, Partial<History>, Partial<Findings>]>([
    [
      'lost: acknowledged and not there',
      { observations: [submitted('a')] },
      { lost: ['id of a (a) is not there'] },
    ],
    [
      'lost: acknowledged and never final',
      { observations: [submitted('a')], records: [record('a', running)] },
      { lost: ['id of a (a) is running of a'] },
    ],
    [
      'lost: the id belongs to another',
      { observations: [submitted('a')], records: [record('b', succeeded, 'id of a')] },
      { lost: ['id of a (a) is completed of b'], unexpected: ['id of a (b)'] },
    ],
    ['unexpected: never submitted', { records: [record('a')] }, { unexpected: ['id of a (a)'] }],
    [
      'unexpected: refused and there',
      { observations: [submitted('a', 'refused')], records: [record('a')] },
      { unexpected: ['id of a (a)'] },
    ],
    [
      'duplicated: two records of one key',
      { observations: [submitted('a')], records: [record('a'), record('a', succeeded, 'another')] },
      { duplicated: ['a is there 2 times'] },
    ],
    [
      'duplicated: two ids for one key',
      { observations: [submitted('a'), submitted('a', { id: 'id of b' })], records: [record('a')] },
      { duplicated: ['a was answered with id of a and id of b'], lost: ['id of b (a) is not there'] },
    ],
    [
      'duplicated: started more often than allowed',
      {
        observations: [submitted('a'), submitted('b', undefined, 2)],
        records: [record('a'), record('b')],
        starts: ['a', 'a', 'b', 'b', 'b', 'x'].map((key, pid) => ({ key, pid })),
      },
      {
        duplicated: [
          'a was started 2 times: pids 0 1',
          'b was started 3 times: pids 2 3 4',
          'x was started 1 times: pids 5',
        ],
      },
    ],
    [
      'recovered: not acknowledged and there once',
      { observations: [submitted('a', 'unknown')], records: [record('a')] },
      { recovered: ['a'] },
    ],
    [
      'changed: another final state than was read',
      {
        observations: [submitted('a'), read('a', { ...succeeded, status: 'failed', outcome: 'lost' })],
        records: [record('a')],
      },
      { changed: ['c read id of a as failed lost, attempt 1'] },
    ],
    [
      'changed and backwards: final, then not',
      {
        observations: [submitted('a'), read('a', succeeded), read('a', running)],
        records: [record('a', { ...succeeded, attempt: 2 })],
      },
      {
        changed: ['c read id of a as completed succeeded, attempt 1'],
        backwards: ['c read id of a as running , attempt 1 after completed, attempt 1'],
      },
    ],
    [
      'backwards: what may start once waits again after it ran',
      {
        observations: [submitted('a'), read('a', running), read('a', { ...waiting, attempt: 1 })],
        records: [record('a')],
      },
      { backwards: ['c read id of a as waiting , attempt 1 after running, attempt 1'] },
    ],
    [
      'backwards: an earlier attempt',
      {
        observations: [
          submitted('a', undefined, 2),
          read('a', { ...running, attempt: 2 }),
          read('a', running),
        ],
        records: [record('a', { ...succeeded, attempt: 2 })],
      },
      { backwards: ['c read id of a as running , attempt 1 after running, attempt 2'] },
    ],
  ])('finds %s', (_what, history, findings) => {
    expect(found(history)).toEqual(findings)
  })
})
