import type { ApiMessage } from '@errand/shared'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { AgentLink } from './agent-link.ts'
import { createQuestions } from './questions.ts'

const report = { runtime_id: null, findings: [] }
const target = { type: 'host_key', host: 'h', port: 22 } as const
const check = { type: 'check' } as unknown as Parameters<ReturnType<typeof createQuestions>['check']>[1]

function scene() {
  const sent: (ApiMessage & { request_id: string })[] = []
  const link = { agentId: 'a', send: (message: ApiMessage) => sent.push(message as never) }
  const other = { ...link, agentId: 'b' } as unknown as AgentLink
  const questions = createQuestions({
    linkOf: (id) => (id === 'a' ? (link as unknown as AgentLink) : undefined),
    time: { checkMs: 900, handshakeMs: 100 },
  })
  return { questions, sent, link: link as unknown as AgentLink, other }
}

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

it('an answer goes to its own question, whatever order they come in', async () => {
  const { questions, sent, link } = scene()
  const checked = questions.check('a', check)
  const seen = questions.hostKey('a', target)
  const [first, second] = sent.map((one) => one.request_id) as [string, string]
  questions.answered(link, { type: 'host_key_seen', request_id: second, keys: [], error: 'no' })
  questions.answered(link, { type: 'checked', request_id: first, report })
  expect(await seen).toMatchObject({ error: 'no' })
  expect(await checked).toMatchObject({ report })
  expect(vi.getTimerCount()).toBe(0)
})

it('an answer of another agent, of another kind, that comes twice or too late, is let fall', async () => {
  const { questions, sent, link, other } = scene()
  const asked = questions.check('a', check)
  const { request_id } = sent[0]!
  questions.answered(other, { type: 'checked', request_id, report })
  questions.answered(link, { type: 'host_key_seen', request_id, keys: [], error: null })
  vi.advanceTimersByTime(999)
  await expect(Promise.race([asked, Promise.resolve('open')])).resolves.toBe('open')
  vi.advanceTimersByTime(1)
  expect(await asked).toBe('silent')
  questions.answered(link, { type: 'checked', request_id, report })
  questions.answered(link, { type: 'checked', request_id, report })
})

it('an agent that goes answers no more, and one that is not connected here is not asked', async () => {
  const { questions, sent, link, other } = scene()
  const asked = questions.check('a', check)
  questions.left(other)
  await expect(Promise.race([asked, Promise.resolve('open')])).resolves.toBe('open')
  questions.left(link)
  expect(await asked).toBe('silent')
  expect(await questions.check('elsewhere', check)).toBe('not_here')
  expect(sent).toHaveLength(1)
})
