import type { InstallingRuntime } from '../../packages/install-steps.ts'

/** A command that prints how many bytes a folder takes on its disk; images need no `du`. */
export function measureCommand(runtime: InstallingRuntime, interpreter: string, dir: string): string[] {
  return runtime === 'python' ? [interpreter, '-I', '-c', python, dir] : [interpreter, '-e', node, dir]
}

const python = `
import os, sys
def size(path):
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0
print(sum(size(os.path.join(folder, name)) for folder, folders, files in os.walk(sys.argv[1]) for name in folders + files))
`

const node = `
const fs = require('fs'), path = require('path')
let bytes = 0
const folders = [process.argv[1]]
for (let folder; (folder = folders.pop()) !== undefined; ) {
  try {
    for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
      const one = path.join(folder, entry.name)
      bytes += fs.lstatSync(one).blocks * 512
      if (entry.isDirectory()) folders.push(one)
    }
  } catch {}
}
console.log(bytes)
`
