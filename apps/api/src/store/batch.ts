import { Unavailable } from './database.ts'

export interface BatchOptions<Item, Result> {
  /** One statement for all of them; answers in their order. */
  run: (items: readonly Item[]) => Promise<readonly Result[]>
  /** The size of an item in bytes, so that a batch of large ones stays small. */
  weigh: (item: Item) => number
  maxItems?: number
  maxBytes?: number
}

interface Waiting<Item, Result> {
  item: Item
  resolve(result: Result): void
  reject(error: unknown): void
}

/**
 * Takes items one by one and has them done together: one that comes while nothing is under way goes at once, those
 * that come meanwhile go together next. So a quiet system waits for nothing and a busy one shares its commits.
 * A batch that fails is done again item by item, so that a bad one harms only itself.
 */
export function createBatcher<Item, Result>(
  options: BatchOptions<Item, Result>,
): (item: Item) => Promise<Result> {
  const waiting: Waiting<Item, Result>[] = []
  let busy = false

  return (item) =>
    new Promise((resolve, reject) => {
      waiting.push({ item, resolve, reject })
      if (!busy) void work()
    })

  async function work(): Promise<void> {
    busy = true
    while (waiting.length > 0) await settle(takeBatch(waiting, options), options)
    busy = false
  }
}

function takeBatch<Item, Result>(
  waiting: Waiting<Item, Result>[],
  { weigh, maxItems = 200, maxBytes = 8 * 1024 * 1024 }: BatchOptions<Item, Result>,
): Waiting<Item, Result>[] {
  let count = 0
  let bytes = 0
  // At least one, however large.
  while (count < Math.min(waiting.length, maxItems)) {
    bytes += weigh(waiting[count]!.item)
    if (count > 0 && bytes > maxBytes) break
    count++
  }
  return waiting.splice(0, count)
}

async function settle<Item, Result>(
  batch: readonly Waiting<Item, Result>[],
  options: BatchOptions<Item, Result>,
): Promise<void> {
  try {
    const results = await options.run(batch.map((one) => one.item))
    for (const [index, one] of batch.entries()) one.resolve(results[index]!)
  } catch (error) {
    // When the database is away it is away for each of them.
    if (batch.length === 1 || error instanceof Unavailable) for (const one of batch) one.reject(error)
    else for (const one of batch) await settle([one], options)
  }
}
