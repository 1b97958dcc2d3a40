/** A way to every other replica of this database: text goes out, and comes in as `heard`. May lose anything. */
export interface Notices {
  /** One statement for all of them; each at most 8,000 bytes, no two alike. Rejects when they were not sent. */
  send(texts: readonly string[]): Promise<void>
  /** How many others listen, as far as is known; undefined while this one does not. */
  readonly others: number | undefined
  close(): Promise<void>
}

export interface NoticeEvents {
  /** Also what this replica itself has sent. */
  heard(text: string): void
  /** It listens, for the first time or again: what was sent before was not heard. */
  opened(): void
}
