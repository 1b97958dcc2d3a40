import { describe, expect, it } from 'vitest'
import { Rejected } from '../backend.ts'
import type { EngineFacts } from './engine.ts'
import { engineLacks, refuseLacking } from './engine-lacks.ts'

const keeps = { memory: true, cpus: true, pids: true }
const facts = (given: Partial<EngineFacts>) => ({ keeps, seccomp: true, ...given }) as EngineFacts

describe('engineLacks', () => {
  it('says nothing of an Engine that can give what containers are promised', () => {
    expect(engineLacks(facts({}))).toEqual([])
    refuseLacking(facts({}))
  })

  it.each([
    [{ keeps: { ...keeps, memory: false } }, 'lacks the control group for memory'],
    [{ keeps: { ...keeps, cpus: false } }, 'lacks the control group for cpus'],
    [{ keeps: { ...keeps, pids: false } }, 'lacks the control group for pids'],
    [{ seccomp: false }, 'filters no system calls'],
  ])('of %o says that it %s, and every job is refused', (given, words) => {
    expect(engineLacks(facts(given))).toEqual([expect.stringContaining(words)])
    expect(() => refuseLacking(facts(given))).toThrow(Rejected)
  })
})
