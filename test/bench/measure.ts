export interface Figures {
  at_once: number
  runs: number
  per_second: number
  p50_ms: number
  p95_ms: number
}

/** Repeats `act` with `atOnce` under way for `seconds`, after a warm-up of a fifth of that. One failed run fails it all. */
export async function measure(atOnce: number, seconds: number, act: () => Promise<void>): Promise<Figures> {
  await repeat(atOnce, seconds / 5, act)
  const began = performance.now()
  const took = await repeat(atOnce, seconds, act)
  const elapsed = performance.now() - began
  const sorted = took.sort((a, b) => a - b)
  const at = (share: number) => round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!)
  return {
    at_once: atOnce,
    runs: took.length,
    per_second: round((took.length * 1000) / elapsed),
    p50_ms: at(0.5),
    p95_ms: at(0.95),
  }
}

async function repeat(atOnce: number, seconds: number, act: () => Promise<void>): Promise<number[]> {
  const until = performance.now() + seconds * 1000
  const took: number[] = []
  const one = async () => {
    do {
      const began = performance.now()
      await act()
      took.push(performance.now() - began)
    } while (performance.now() < until)
  }
  await Promise.all(Array.from({ length: atOnce }, one))
  return took
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
