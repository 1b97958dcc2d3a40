import { Rejected } from '../backend.ts'

/**
 * The kernel's room for arguments and environment together is a quarter of the stack limit, usually 8 MiB; what does
 * not fit would end as an error of the program, which it is not.
 *
 * @throws {Rejected}
 */
export function refuseOversized(words: readonly string[], env: Readonly<Record<string, string>>): void {
  const pointer = 8
  const sizes = [...words, ...Object.entries(env).map((pair) => pair.join('='))].map(
    (text) => Buffer.byteLength(text) + 1 + pointer,
  )
  if (sizes.reduce((sum, size) => sum + size, 0) > roomBytes)
    throw new Rejected(
      `arguments and environment together take more than the ${roomBytes} bytes that this host allows`,
    )
}

const roomBytes = 2 * 1024 * 1024 - 64 * 1024
