import { expect, it } from 'vitest'
import {
  finalStatuses,
  isCompleted,
  isFinal,
  isRetried,
  legalMoves,
  liveStatuses,
  mayMove,
  outcome,
  status,
  statusOfOutcome,
} from './status.ts'

it('lets nothing leave a final status', () => {
  for (const one of finalStatuses) expect(legalMoves[one]).toEqual([])
})

it('lets every live status end', () => {
  for (const one of liveStatuses) expect(legalMoves[one].some(isFinal)).toBe(true)
})

it('lets what has been asked to end only end', () => {
  expect(legalMoves.canceling).toEqual(finalStatuses)
})

it('lets nothing that has run wait again but by a retry', () => {
  expect(status.options.filter((one) => mayMove(one, 'waiting'))).toEqual(['locked', 'assigned', 'retrying'])
  expect(mayMove('running', 'waiting')).toBe(false)
})

it('calls an execution completed where user code came to an end of its own', () => {
  expect(outcome.options.filter(isCompleted)).toEqual(
    outcome.options.filter((one) => ['completed', 'timeout'].includes(statusOfOutcome[one])),
  )
})

it('retries only our own failures', () => {
  expect(outcome.options.filter(isRetried)).toEqual(['infra_error', 'lost'])
})
