import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { answerError } from './answer-error.ts'
import { waitPreference } from './wait-preference.ts'

const app = new Hono()
app.onError(answerError({ debug() {}, info() {}, warn() {}, error() {} }))
app.get('/', (c) => c.json(waitPreference(c)))

const seconds = async (query: string, prefer?: string) => {
  const answer = await app.request(`/${query}`, { headers: prefer === undefined ? {} : { prefer } })
  return answer.status === 200 ? answer.json() : answer.status
}

describe('waitPreference', () => {
  it.each([
    ['', undefined, 0],
    ['', 'respond-async', 0],
    ['', 'wait=10', 10],
    ['', 'respond-async, Wait = 0.5', 0.5],
    ['', 'wait="7"', 7],
    ['', 'handling=lenient;wait=3, wait=5', 5],
    ['', 'wait=3600', 60],
    ['?wait=2.5', undefined, 2.5],
    ['?wait=1', 'wait=30', 1],
    ['?wait=999', undefined, 60],
  ])('takes %s and %s as %d seconds', async (query, prefer, expected) => {
    expect(await seconds(query, prefer)).toBe(expected)
  })

  it.each(['wait', 'wait=', 'wait=soon', 'wait=-1', 'wait=1e3', 'wait=Infinity'])(
    'refuses %s',
    async (text) => {
      expect(await seconds('', text)).toBe(400)
      expect(await seconds(`?${text}`)).toBe(422)
    },
  )
})
