import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * A new temporary directory of this process. Those of the same prefix whose process is gone, killed before it could
 * clean up, are removed by the way.
 */
export function ownedDirectory(prefix: string, parent = tmpdir()): string {
  for (const name of readdirSync(parent).filter((one) => one.startsWith(prefix))) {
    const orphan = join(parent, name)
    if (isOrphan(orphan)) rmSync(orphan, { recursive: true, force: true })
  }
  const dir = mkdtempSync(join(parent, prefix))
  writeFileSync(join(dir, 'owner'), String(process.pid))
  return dir
}

function isOrphan(dir: string): boolean {
  try {
    // Another user's is that user's to remove.
    if (statSync(dir).uid !== process.getuid?.() && process.getuid?.() !== 0) return false
    const owner = Number(readFileSync(join(dir, 'owner'), 'utf8'))
    return owner > 0 && !existsSync(`/proc/${owner}`)
  } catch {
    return false
  }
}
