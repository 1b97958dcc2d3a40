import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { boxBinary } from '@errand/box'
import type { BoxArchitecture } from '@errand/box'
import { cksum } from './cksum.ts'

/** The box as it is sent to targets of an architecture. */
export interface OwnBox {
  bytes: Buffer
  sha256: string
  /** It has this name there: another version is another file. */
  name: string
}

/** What `uname -m` says of machines that the box is built for. */
const machines: Record<string, BoxArchitecture> = {
  x86_64: 'x64',
  amd64: 'x64',
  aarch64: 'arm64',
  arm64: 'arm64',
}

/** Undefined where there is none for that machine. */
export async function ownBoxFor(machine: string): Promise<OwnBox | undefined> {
  const arch = machines[machine]
  return arch && readBox(arch)
}

async function readBox(arch: BoxArchitecture): Promise<OwnBox> {
  const bytes = await readFile(boxBinary(arch))
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return { bytes, sha256, name: `box-${sha256.slice(0, 12)}` }
}

/** The script that does the box's work, as it is sent to targets where the box cannot run. `sum`: what `cksum` prints. */
export async function ownShellBox(): Promise<{ bytes: Buffer; sum: string; name: string }> {
  const bytes = await readFile(join(import.meta.dirname, 'shell-box.sh'))
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  return { bytes, sum: `${cksum(bytes)} ${bytes.length}`, name: `run-${sha256.slice(0, 12)}.sh` }
}
