import { join } from 'node:path'

/** Architectures as `process.arch` names them; the box is built for each. */
export const boxArchitectures = ['x64', 'arm64'] as const
export type BoxArchitecture = (typeof boxArchitectures)[number]

/** The path of the box for this machine, or another's architecture. */
export function boxBinary(arch: string = process.arch): string {
  if (!(boxArchitectures as readonly string[]).includes(arch)) throw new Error(`there is no box for ${arch}`)
  return join(import.meta.dirname, '..', 'bin', `box-linux-${arch}`)
}
