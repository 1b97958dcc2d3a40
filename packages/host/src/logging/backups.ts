import { readdirSync, rmSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'

/**
 * The name beside `path` for the file to be put aside: `main.log` becomes `main-2026-01-31T08-00-00.000.log`.
 * Always newer than what is there, also when the clock went back or two are put aside in one millisecond.
 */
export function backupPath(path: string, nowMs: number): string {
  const extension = extname(path)
  const stem = basename(path, extension)
  const newestMs = backupsOf(path)[0]?.timeMs ?? 0
  const time = new Date(Math.max(nowMs, newestMs + 1)).toISOString().replaceAll(':', '-').replace('Z', '')
  return join(dirname(path), `${stem}-${time}${extension}`)
}

/** Deletes the put aside files of `path` that are beyond the newest `maxBackups` or older than `maxAgeMs` (0: no such limit). */
export function pruneBackups(path: string, maxBackups: number, maxAgeMs: number, nowMs: number): void {
  backupsOf(path)
    .filter(
      ({ timeMs }, index) =>
        (maxBackups > 0 && index >= maxBackups) || (maxAgeMs > 0 && nowMs - timeMs > maxAgeMs),
    )
    .forEach((backup) => rmSync(backup.path, { force: true }))
}

/** Newest first. */
function backupsOf(path: string): { path: string; timeMs: number }[] {
  const extension = extname(path)
  const prefix = `${basename(path, extension)}-`
  return readdirSync(dirname(path))
    .filter((name) => name.startsWith(prefix) && name.endsWith(extension))
    .map((name) => ({
      path: join(dirname(path), name),
      timeMs: parseTime(name.slice(prefix.length, name.length - extension.length)),
    }))
    .filter(({ timeMs }) => !Number.isNaN(timeMs))
    .toSorted((a, b) => b.timeMs - a.timeMs)
}

/** NaN for what is not a time as `backupPath` writes it: another file, which is not ours to delete. */
function parseTime(text: string): number {
  const match = /^(\d{4}-\d\d-\d\dT)(\d\d)-(\d\d)-(\d\d\.\d{3})$/.exec(text)
  return match ? Date.parse(`${match[1]}${match[2]}:${match[3]}:${match[4]}Z`) : Number.NaN
}
