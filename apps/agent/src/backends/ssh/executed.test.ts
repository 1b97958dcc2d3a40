import { Duplex, PassThrough } from 'node:stream'
import type { ClientChannel } from 'ssh2'
import { expect, it } from 'vitest'
import { executed } from './executed.ts'

it('a command that does not end is given up, and its channel closed', async () => {
  let closed = 0
  const hangs = Object.assign(new Duplex({ read() {}, write: (_bytes, _encoding, done) => done() }), {
    stderr: new PassThrough(),
    close: () => void (closed += 1),
  })
  await expect(executed(hangs as unknown as ClientChannel, '', 10)).rejects.toMatchObject({
    code: 'link_lost',
  })
  expect(closed).toBe(1)
})
