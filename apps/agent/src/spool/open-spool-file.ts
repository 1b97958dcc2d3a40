import { rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'

/** The write-ahead log is written back into the file when it has grown to this. */
export const walBytes = 1024 * 1024

/**
 * Opens the file. After a reboot it may be damaged, as nothing was synced: then it is made anew, and its new spool id
 * tells the API that all that was held counts as started.
 */
export function openSpoolFile(path: string, bootId: string): DatabaseSync {
  let db: DatabaseSync | undefined
  try {
    db = open(path)
    if (isWhole(db, bootId)) return db
  } catch (error) {
    if (!isDamage(error)) throw error
  }
  db?.close()
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
  return open(path)
}

function isWhole(db: DatabaseSync, bootId: string): boolean {
  const isNew = !db.prepare("SELECT 1 FROM meta WHERE key = 'boot_id'").get()
  if (isNew || db.prepare("SELECT 1 FROM meta WHERE key = 'boot_id' AND value = ?").get(bootId)) return true
  return db.prepare('PRAGMA quick_check(1)').get()?.['quick_check'] === 'ok'
}

function open(path: string): DatabaseSync {
  const db = new DatabaseSync(path)
  // One process only (the directory is locked), so no shared memory beside the file.
  db.exec('PRAGMA locking_mode = EXCLUSIVE')
  db.exec('PRAGMA journal_mode = WAL')
  db.exec('PRAGMA synchronous = OFF')
  db.exec(`PRAGMA wal_autocheckpoint = ${walBytes / 4_096}`)
  db.exec('PRAGMA journal_size_limit = 16777216')
  bringUpToDate(db)
  return db
}

function bringUpToDate(db: DatabaseSync): void {
  const version = Number(db.prepare('PRAGMA user_version').get()?.['user_version'])
  for (const [index, statements] of versions.entries())
    if (index >= version)
      db.exec(`BEGIN IMMEDIATE; ${statements}; PRAGMA user_version = ${index + 1}; COMMIT`)
}

const sqliteCorrupt = 11
const sqliteNotADatabase = 26

function isDamage(error: unknown): boolean {
  return (
    error instanceof Error &&
    'errcode' in error &&
    [sqliteCorrupt, sqliteNotADatabase].includes(Number(error.errcode) & 0xff)
  )
}

/** Each brings a file to the next version. Those that are out there are changed no more; agents of before read on what they know. */
const versions = [
  // Files of the first agents are this and say 0.
  `
  CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS seen (rowid INTEGER PRIMARY KEY, id TEXT NOT NULL, fence INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS held (
    id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'starting', 'ended')),
    started_at_ms INTEGER,
    PRIMARY KEY (id, fence)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS output (
    id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    stream TEXT NOT NULL,
    "offset" INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (id, fence, stream, "offset")
  );
  CREATE TABLE IF NOT EXISTS result (
    id TEXT NOT NULL,
    fence INTEGER NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (id, fence)
  ) WITHOUT ROWID
  `,
  `
  ALTER TABLE held ADD COLUMN run TEXT;
  ALTER TABLE held ADD COLUMN adoptions INTEGER NOT NULL DEFAULT 0
  `,
]
