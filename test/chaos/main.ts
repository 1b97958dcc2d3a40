import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { allNemeses } from './nemeses/all.ts'
import { runHistory } from './run-history.ts'

// `npm run test:chaos`: DI-01 at full size, with all waits as they are in production. Prints a table; ends with 1 where it finds anything.

const { values } = parseArgs({
  options: {
    submissions: { type: 'string', default: '2000' },
    clients: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '300' },
    'time-scale': { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    /** Where to write what the processes printed. */
    logs: { type: 'string' },
  },
})
const options = {
  submissions: Number(values.submissions),
  clients: Number(values.clients),
  seconds: Number(values.seconds),
  nemeses: allNemeses,
  timeScale: Number(values['time-scale']),
  seed: Number(values.seed),
}
const { submissions, clients, seconds, timeScale, seed } = options
console.log(
  `${submissions} submissions from ${clients} clients in ${seconds} s, waits × ${timeScale}, seed ${seed}`,
)
const { findings, outcomes, submitted, acknowledged, retried, heldAtStrikes, strikes, logs } =
  await runHistory(options)
if (values.logs !== undefined) writeFileSync(values.logs, logs)

const { recovered, ...wrong } = findings
const { succeeded = 0, lost = 0, infra_error = 0 } = outcomes
const rows = {
  submitted,
  acknowledged,
  ...Object.fromEntries(Object.entries(wrong).map(([name, all]) => [name, all.length])),
  recovered: recovered.length,
  infra_error,
  succeeded,
  'outcome lost': lost,
  'held at kills': heldAtStrikes,
  retried,
}
console.log('')
for (const [name, count] of Object.entries(rows))
  console.log(`${name.padEnd(18)}${String(count).padStart(7)}`)
console.log(
  `\nstrikes: ${Object.entries(strikes)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')}`,
)
for (const [name, all] of Object.entries(wrong)) for (const one of all) console.log(`${name}: ${one}`)
const others = Object.values(outcomes).reduce((sum, count) => sum + count, 0) - succeeded - lost
if (Object.values(wrong).some((all) => all.length > 0) || others > 0 || lost > heldAtStrikes)
  process.exitCode = 1
