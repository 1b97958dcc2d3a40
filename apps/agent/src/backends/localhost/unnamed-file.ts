import { closeSync, constants, fchownSync, openSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'

/**
 * A descriptor to read `content` from, of a file that has no name any more.
 *
 * @param path of no other use at this time, and in a directory of ours alone
 * @param uid who may open it again (as `/dev/stdin`), when it is not this process's
 */
export function unnamedFile(path: string, content: string, uid: number | undefined): number {
  // An agent that was killed before it could unlink it.
  rmSync(path, { force: true })
  const made = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o400)
  try {
    writeFileSync(made, content)
    if (uid !== undefined) fchownSync(made, uid, uid)
    return openSync(path, constants.O_RDONLY)
  } finally {
    closeSync(made)
    unlinkSync(path)
  }
}
