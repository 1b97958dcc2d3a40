import { expect, it, onTestFailed, vi } from 'vitest'
import { allNemeses } from './nemeses/all.ts'
import { runHistory } from './run-history.ts'

// It waits for whole lease periods, and other test files share the machine.
vi.setConfig({ testTimeout: 480_000 })

it('DI-01: nothing acknowledged is lost, nothing is there twice or unasked for, whatever fails while clients submit', async () => {
  const seed = Math.floor(Math.random() * 1e9)
  const report = await runHistory({
    submissions: 150,
    clients: 8,
    seconds: 20,
    nemeses: allNemeses,
    timeScale: 0.1,
    seed,
  })
  onTestFailed(() => console.error(`seed ${seed}`, report.strikes, report.outcomes, report.logs))
  const { recovered: _allowed, ...wrong } = report.findings
  expect(wrong).toEqual({ lost: [], unexpected: [], duplicated: [], changed: [], backwards: [] })
  expect(report.submitted).toBe(150)
  expect(Object.keys(report.strikes).length).toBeGreaterThan(1)
  const { succeeded = 0, lost = 0, ...others } = report.outcomes
  expect(others).toEqual({})
  expect(lost).toBeLessThanOrEqual(report.heldAtStrikes)
  expect(succeeded).toBeGreaterThan(0)
})
