/** Does `act` for 0 to `count` - 1, at most `clients` at once; the results in order. */
export async function atOnce<T>(
  clients: number,
  count: number,
  act: (index: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = []
  let next = 0
  const work = async (): Promise<void> => {
    while (next < count) {
      const index = next++
      results[index] = await act(index)
    }
  }
  await Promise.all(Array.from({ length: clients }, work))
  return results
}
