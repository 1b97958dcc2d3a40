import { spawn } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { checkMachine } from './namespaced.ts'
import { runTool } from './run-tool.ts'

/**
 * A network of the caller's own, joined to the machine by a pair of interfaces whose inner end can be made to fail. The
 * kernel removes it with its last process: it ends with this process and with what was started inside, however those die.
 */
export interface NetworkNamespace {
  /** A command that runs the one whose words follow inside; only its network is another. */
  readonly within: readonly string[]
  /** The machine, as it is reached from inside. */
  readonly hostAddress: string
  /** Packets vanish both ways, and nobody is told. */
  drop(): Promise<void>
  /** What either side sends over TCP is answered with a reset. */
  reset(): Promise<void>
  /** After `drop` or `reset`. */
  heal(): Promise<void>
  /** At most so many bits a second leave it, in thousands. */
  slowDown(kbits: number): Promise<void>
  close(): Promise<void>
}

/** @throws where the machine lacks what it takes, or is not root's */
export async function openNetworkNamespace(): Promise<NetworkNamespace> {
  for (const [program, debianPackage] of [
    ['ip', 'iproute2'],
    ['iptables', 'iptables'],
  ] as const)
    checkMachine(program, debianPackage)
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo ready; exec cat >/dev/null'], {
    // Ctrl-C must not reach it: it ends with its stdin.
    detached: true,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  holder.stdin.on('error', () => {})
  await once(holder.stdout, 'data')
  const within = ['nsenter', `--net=/proc/${holder.pid}/ns/net`]
  const inside = (command: string) => run([...within, ...command.split(' ')])
  const close = async (): Promise<void> => {
    const ended = once(holder, 'exit')
    holder.stdin.end()
    await ended
  }
  const name = `eh${randomBytes(5).toString('hex')}`
  // A network of two, somewhere in a corner of the private addresses.
  const network = `10.213.${randomInt(256)}.${randomInt(64) * 4}`
  const address = (host: number) => network.replace(/\d+$/, (last) => String(Number(last) + host))
  try {
    await run(`ip link add ${name} type veth peer name ${name}i netns ${holder.pid}`.split(' '))
    await run(`ip address add ${address(1)}/30 dev ${name}`.split(' '))
    await run(`ip link set ${name} up`.split(' '))
    await inside(`ip address add ${address(2)}/30 dev ${name}i`)
    await inside(`ip link set ${name}i up`)
    await inside('ip link set lo up')
  } catch (error) {
    await close()
    throw error
  }
  const refuse = async (target: string): Promise<void> => {
    await inside(`iptables -A INPUT -i ${name}i -p tcp ${target}`)
    await inside(`iptables -A OUTPUT -o ${name}i -p tcp ${target}`)
  }
  return {
    within,
    hostAddress: address(1),
    drop: () => refuse('-j DROP'),
    reset: () => refuse('-j REJECT --reject-with tcp-reset'),
    heal: () => inside('iptables -F'),
    slowDown: (kbits) =>
      inside(`tc qdisc replace dev ${name}i root tbf rate ${kbits}kbit burst 16kb latency 400ms`),
    close,
  }
}

async function run([program, ...args]: readonly string[]): Promise<void> {
  await runTool(program!, args)
}
