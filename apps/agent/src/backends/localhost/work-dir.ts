import {
  chownSync,
  closeSync,
  constants,
  fchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import type { Program } from '../../runtimes/program.ts'
import { runTool } from './run-tool.ts'

/** The directory of one execution: `work` is where its files lie and where it runs, `tmp` its `TMPDIR`. */
export interface WorkDir {
  readonly path: string
  readonly work: string
  readonly tmp: string
}

/**
 * Makes it. Both folders are 0700 and `uid`'s, if given; what is around them is not, so that a compiler
 * could not put a link in place of the folder that the program then starts in.
 */
export function makeWorkDir(root: string, name: string, program: Program, uid: number | undefined): WorkDir {
  const path = join(root, name)
  const dir = { path, work: join(path, 'work'), tmp: join(path, 'tmp') }
  mkdirSync(path, uid === undefined ? 0o700 : 0o711)
  for (const folder of [dir.work, dir.tmp]) makeFolder(folder, uid)
  const made = new Set(['.'])
  for (const file of program.files) {
    makeParents(dir.work, dirname(file.path), made, uid)
    writeNewFile(join(dir.work, file.path), file.content, uid)
  }
  return dir
}

/**
 * Removes all of it, whatever the program left there: folders without permissions, deep trees, links (which
 * are not followed). No process of the execution may be alive.
 *
 * @throws when something stays
 */
export async function removeWorkDir(dir: WorkDir, program: Program): Promise<void> {
  if (removeUntouched(dir, program)) return
  await removeTree(dir.path)
}

export async function removeTree(path: string): Promise<void> {
  // Not Node's own: that fails on paths longer than PATH_MAX and blocks, or floods the thread pool.
  await runTool('rm', ['-rf', '--', path]).catch(() => {})
  if (!exists(path)) return
  // Only root removes what lies in a folder without permissions.
  await runTool('chmod', ['-R', 'u+rwx', '--', path]).catch(() => {})
  await runTool('rm', ['-rf', '--', path])
}

/** The way of most runs, without a process: only what we made is there. */
function removeUntouched({ path, work, tmp }: WorkDir, program: Program): boolean {
  const [only, ...others] = program.files
  if (!only || others.length > 0 || only.path.includes('/')) return false
  try {
    unlinkSync(join(work, only.path))
    rmdirSync(work)
    rmdirSync(tmp)
    rmdirSync(path)
    return true
  } catch {
    return false
  }
}

function makeParents(root: string, folder: string, made: Set<string>, uid: number | undefined): void {
  if (made.has(folder)) return
  makeParents(root, dirname(folder), made, uid)
  makeFolder(join(root, folder), uid)
  made.add(folder)
}

function makeFolder(path: string, uid: number | undefined): void {
  mkdirSync(path, 0o700)
  if (uid !== undefined) chownSync(path, uid, uid)
}

function writeNewFile(path: string, content: string | Uint8Array, uid: number | undefined): void {
  const fd = openSync(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600,
  )
  try {
    writeFileSync(fd, content)
    if (uid !== undefined) fchownSync(fd, uid, uid)
  } finally {
    closeSync(fd)
  }
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
