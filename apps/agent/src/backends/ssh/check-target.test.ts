import type { CheckReport } from '@errand/shared'
import { expect, it } from 'vitest'
import { checkTarget } from './check-target.ts'
import type { RemoteTarget } from './remote-target.ts'
import { SshFailure } from './ssh-failure.ts'

function check(place: () => Promise<unknown>, signal = new AbortController().signal): Promise<CheckReport> {
  const executor = {
    executor_type: 'ssh',
    name: 'a',
    config_id: 'a',
    source: 'config',
    settings: {},
  } as const
  const limits = { timeout_sec: 30, output_limit_kb: 1 }
  const remote = { description: 'a target', place } as unknown as RemoteTarget
  const find = () => Promise.resolve(undefined)
  return checkTarget(
    { executor, runtime: 'bash', limits, required_limits: [], signal },
    { remote, find, interpreter: undefined },
  )
}
const said = ({ findings }: CheckReport): string[] => findings.map(({ what, ok }) => `${what} ${ok}`)

it('a target that hangs does not pass its check', async () => {
  const report = await check(() => new Promise(() => {}), AbortSignal.timeout(10))
  expect(said(report)).toEqual(['limits true', 'connection false'])
})

it('a target that is unfit has let us in', async () => {
  const report = await check(() => Promise.reject(new SshFailure('target_unfit', 'noexec')))
  expect(said(report)).toEqual([
    'limits true',
    'connection true',
    'host_key true',
    'authentication true',
    'sandbox false',
  ])
})
