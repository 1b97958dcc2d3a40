import type { Figures } from './measure.ts'

export type Row = Figures & { name: string }

/** Markdown: each subject beside the baseline at the same concurrency, then at each one's best. */
export function tableOf(rows: readonly Row[], baseline: string): string {
  const lines = ['| at once | | p50 ms | p95 ms | runs/s | of the baseline |', '|---|---|---|---|---|---|']
  for (const row of rows) {
    const base = rows.find((one) => one.name === baseline && one.at_once === row.at_once)!
    lines.push(
      `| ${row.at_once} | ${row.name} | ${row.p50_ms} | ${row.p95_ms} | ${row.per_second} | ${ratio(row.per_second, base.per_second)} |`,
    )
  }
  lines.push(
    '',
    '| at its best concurrency | runs/s | of the baseline | p50 at one client, beyond the baseline |',
    '|---|---|---|---|',
  )
  const names = [...new Set(rows.map((row) => row.name))]
  const best = (name: string) =>
    Math.max(...rows.filter((row) => row.name === name).map((row) => row.per_second))
  const alone = (name: string) => rows.find((row) => row.name === name && row.at_once === 1)!.p50_ms
  for (const name of names)
    lines.push(
      `| ${name} | ${best(name)} | ${ratio(best(name), best(baseline))} | ${(alone(name) - alone(baseline)).toFixed(1)} ms |`,
    )
  return lines.join('\n')
}

function ratio(value: number, base: number): string {
  return (value / base).toFixed(2)
}
