import type { PackageIndex } from './package-index.ts'

export type { PackageIndex }

export interface IndexProxy {
  index: PackageIndex
  socketPath: string
  mostBytes: number
  onBytes(n: number): void
  onRefused(words: string): void
}

export async function openIndexProxy(_given: IndexProxy): Promise<{ close(): Promise<void> }> {
  throw new Error('not yet')
}
