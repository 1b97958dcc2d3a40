import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import { promisify } from 'node:util'
import { expect, it, onTestFinished } from 'vitest'
import { openNetworkNamespace } from './network-namespace.ts'

const run = promisify(execFile)

it('is reached, cut off by silence or by resets, healed, and goes with all that belongs to it', async () => {
  const network = await openNetworkNamespace()
  const server = createServer((socket) => socket.on('error', () => {}).end('hello')).listen(
    0,
    network.hostAddress,
  )
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const ask = async () => {
    const [program, ...args] = [
      ...network.within,
      'socat',
      '-T1',
      '-',
      `TCP:${network.hostAddress}:${port},connect-timeout=1`,
    ]
    return run(program, args).then(
      ({ stdout }) => stdout,
      (error: { stderr: string }) => error.stderr,
    )
  }
  expect(await ask()).toBe('hello')
  await network.drop()
  expect(await ask()).toContain('timed out')
  await network.heal()
  await network.reset()
  expect(await ask()).toContain('refused')
  await network.heal()
  await network.slowDown(512)
  expect(await ask()).toBe('hello')
  expect(addresses()).toContain(network.hostAddress)
  await network.close()
  await expect.poll(addresses).not.toContain(network.hostAddress)
})

function addresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? [])
}
