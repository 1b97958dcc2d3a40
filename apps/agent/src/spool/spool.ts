import { randomUUID } from 'node:crypto'
import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Held, Offsets, RunResult, Stream } from '@errand/shared'
import { claimKey } from '../claim.ts'
import type { Claim } from '../claim.ts'
import type { KeptRun } from './kept-run.ts'
import { openSpoolFile, walBytes } from './open-spool-file.ts'

export interface SpooledJob extends Held {
  /** When its program was started, Unix milliseconds of the API's clock; null while `accepted`. */
  startedAtMs: number | null
  /** Null where it can't be adopted. */
  run: KeptRun | null
  /** How many agents in a row have adopted it and died at once. */
  adoptions: number
}

/**
 * So much room on its disk is left to what ends jobs: results, and what forgets what was delivered. With it the
 * write-ahead log can always be written back, without which nothing can be.
 */
const reserveBytes = 2 * walBytes
/** Room is looked for again once so much was written. */
const lookEveryBytes = 256 * 1024
/** What a small write costs at least. */
const pageBytes = 4_096

/** How many of the newest claims are remembered, so that one that is sent twice is started once. */
const claimsRemembered = 10_000

/**
 * What the agent has taken on and not delivered, in one SQLite file: it survives the end of the process at any moment,
 * not that of the machine (nothing is synced to disk; the boot id tells the API). Every write is one transaction and
 * throws when it could not be made, such as on a full disk. The agent's directory is locked, so there is one process.
 */
export class Spool {
  /** Random, made with the file: a new one says that what was known before is gone. */
  readonly id: string
  readonly agentDir: string
  readonly #db: DatabaseSync
  #sinceLook = lookEveryBytes
  /** What could not be forgotten when it was to be. */
  readonly #unforgotten: Claim[] = []
  #seen: Set<string>
  readonly #statements = new Map<string, StatementSync>()

  constructor(agentDir: string, bootId: string) {
    this.agentDir = agentDir
    this.#db = openSpoolFile(join(agentDir, 'spool.sqlite'), bootId)
    this.id = this.#meta('spool_id') ?? randomUUID()
    this.#setMeta('spool_id', this.id)
    // Monotonic time begins anew with each boot.
    if (this.#meta('boot_id') !== bootId) this.#run("DELETE FROM meta WHERE key = 'lease_sent_at'")
    this.#setMeta('boot_id', bootId)
    this.#seen = this.#newestClaims()
    for (const table of ['output', 'result'])
      this.#run(
        `DELETE FROM ${table} WHERE NOT EXISTS
         (SELECT 1 FROM held WHERE held.id = ${table}.id AND held.fence = ${table}.fence)`,
      )
  }

  /** Whether this claim was taken or handed back before. */
  hasSeen(claim: Claim): boolean {
    return this.#seen.has(claimKey(claim))
  }

  /** Never take this claim (again). Kept in memory alone: a later process learns at its reconnect that it is gone. */
  refuse(claim: Claim): void {
    this.#seen.add(claimKey(claim))
  }

  accept(claim: Claim): void {
    this.#keepReserve(0)
    this.#transaction(() => {
      this.#run('INSERT INTO seen (id, fence) VALUES (?, ?)', claim.id, claim.fence)
      this.#run("INSERT INTO held (id, fence, state) VALUES (?, ?, 'accepted')", claim.id, claim.fence)
    })
    this.#seen.add(claimKey(claim))
    if (this.#seen.size > 2 * claimsRemembered) this.#seen = this.#newestClaims()
  }

  /** To be called immediately before the program starts. */
  starting({ id, fence }: Claim, startedAtMs: number, run?: KeptRun): void {
    this.#run(
      "UPDATE held SET state = 'starting', started_at_ms = ?, run = ? WHERE id = ? AND fence = ?",
      startedAtMs,
      run === undefined ? null : JSON.stringify(run),
      id,
      fence,
    )
  }

  /** To be called immediately before it is adopted. */
  adopting({ id, fence }: Claim): void {
    this.#run('UPDATE held SET adoptions = adoptions + 1 WHERE id = ? AND fence = ?', id, fence)
  }

  /** The agent lives on with what it adopted. */
  adopted({ id, fence }: Claim): void {
    this.#run('UPDATE held SET adoptions = 0 WHERE id = ? AND fence = ?', id, fence)
  }

  append({ id, fence }: Claim, stream: Stream, offset: number, bytes: Uint8Array): void {
    this.#keepReserve(bytes.length)
    this.#run(
      'INSERT INTO output (id, fence, stream, "offset", bytes) VALUES (?, ?, ?, ?, ?)',
      id,
      fence,
      stream,
      offset,
      bytes,
    )
  }

  finish({ id, fence }: Claim, result: RunResult): void {
    this.#transaction(() => {
      this.#run('INSERT INTO result (id, fence, json) VALUES (?, ?, ?)', id, fence, JSON.stringify(result))
      this.#run("UPDATE held SET state = 'ended' WHERE id = ? AND fence = ?", id, fence)
    })
  }

  /** The bytes that one stream has from `offset` on: what is left of one stored piece, so at most 64 KiB. */
  read({ id, fence }: Claim, stream: Stream, offset: number): Uint8Array {
    const [row] = this.#all<{ offset: number; bytes: Uint8Array }>(
      `SELECT "offset", bytes FROM output WHERE id = ? AND fence = ? AND stream = ? AND "offset" <= ?
       ORDER BY "offset" DESC LIMIT 1`,
      id,
      fence,
      stream,
      offset,
    )
    return row ? row.bytes.subarray(offset - row.offset) : new Uint8Array(0)
  }

  /** All of one stream, piece by piece. */
  *pieces(claim: Claim, stream: Stream): Generator<Uint8Array> {
    const end = this.ends(claim)[stream]
    for (let offset = 0; offset < end;) {
      const bytes = this.read(claim, stream, offset)
      if (bytes.length === 0) throw new Error('the spool has a gap in its output')
      yield bytes
      offset += bytes.length
    }
  }

  /** How much output of a job is here, which is all of it: it stays until its result is delivered. */
  ends({ id, fence }: Claim): Offsets {
    const ends = { stdout: 0, stderr: 0 }
    for (const row of this.#all<{ stream: Stream; end: number }>(
      `SELECT stream, max("offset" + length(bytes)) AS "end" FROM output WHERE id = ? AND fence = ? GROUP BY stream`,
      id,
      fence,
    ))
      ends[row.stream] = row.end
    return ends
  }

  result({ id, fence }: Claim): RunResult | undefined {
    const [row] = this.#all<{ json: string }>('SELECT json FROM result WHERE id = ? AND fence = ?', id, fence)
    return row ? (JSON.parse(row.json) as RunResult) : undefined
  }

  held(): SpooledJob[] {
    const rows = this.#all<Omit<SpooledJob, 'run'> & { run: string | null }>(
      'SELECT id, fence, state, started_at_ms AS "startedAtMs", run, adoptions FROM held',
    )
    return rows.map((row) => ({ ...row, run: row.run === null ? null : (JSON.parse(row.run) as KeptRun) }))
  }

  /** Delivered, handed back or no longer ours. */
  forget(claim: Claim): void {
    try {
      this.#forget(claim)
    } catch (error) {
      this.#unforgotten.push(claim)
      throw error
    }
  }

  /** When the last acknowledged frame was sent, in this boot's monotonic milliseconds. */
  get leaseSentAt(): number | undefined {
    const kept = this.#meta('lease_sent_at')
    return kept === undefined ? undefined : Number(kept)
  }

  keepLease(sentAt: number): void {
    this.#setMeta('lease_sent_at', String(sentAt))
  }

  /** Throws while no job could be taken. What could not be forgotten before is now. */
  probe(): void {
    for (let claim = this.#unforgotten.at(-1); claim; claim = this.#unforgotten.at(-1)) {
      this.#forget(claim)
      this.#unforgotten.pop()
    }
    this.#keepReserve(lookEveryBytes)
    this.#setMeta('probe', 'x'.repeat(64 * 1024))
    this.#setMeta('probe', '')
  }

  close(): void {
    this.#db.close()
  }

  #forget({ id, fence }: Claim): void {
    this.#transaction(() => {
      for (const table of ['output', 'result', 'held'])
        this.#run(`DELETE FROM ${table} WHERE id = ? AND fence = ?`, id, fence)
    })
  }

  #keepReserve(bytes: number): void {
    this.#sinceLook += bytes + pageBytes
    if (this.#sinceLook < lookEveryBytes) return
    const { bavail, bsize } = statfsSync(this.agentDir)
    const [inside] = this.#all<{ freelist_count: number }>('PRAGMA freelist_count')
    if (bavail * bsize + inside!.freelist_count * pageBytes < reserveBytes)
      throw new Error("the disk of the agent's directory has no room")
    this.#sinceLook = 0
  }

  #newestClaims(): Set<string> {
    this.#run('DELETE FROM seen WHERE rowid <= (SELECT max(rowid) FROM seen) - ?', claimsRemembered)
    return new Set(this.#all<Claim>('SELECT id, fence FROM seen').map(claimKey))
  }

  #meta(key: string): string | undefined {
    return this.#all<{ value: string }>('SELECT value FROM meta WHERE key = ?', key)[0]?.value
  }

  #setMeta(key: string, value: string): void {
    this.#run('INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)', key, value)
  }

  #transaction(act: () => void): void {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      act()
      this.#db.exec('COMMIT')
    } catch (error) {
      // A full disk may have ended the transaction already.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw error
    }
  }

  #run(sql: string, ...values: (string | number | Uint8Array | null)[]): void {
    this.#prepare(sql).run(...values)
  }

  #all<Row>(sql: string, ...values: (string | number)[]): Row[] {
    return this.#prepare(sql).all(...values) as Row[]
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql)
    if (known) return known
    const made = this.#db.prepare(sql)
    this.#statements.set(sql, made)
    return made
  }
}
