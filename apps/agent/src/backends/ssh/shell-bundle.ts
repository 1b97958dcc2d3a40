import type { Bundle, BundlePhase } from '@errand/box'
import { phaseKinds } from '@errand/box'
import { Rejected } from '../backend.ts'

/**
 * A bundle as `shell-box.sh` reads it: the plan's length (16 digits and a line feed), the plan, and the contents that
 * the plan names by their places. The plan is shell, and every phase's command is a script among the contents.
 *
 * @throws {Rejected} where the kernel would not take a word
 */
export function encodeForShell({ files, stdin, phases }: Bundle): Uint8Array {
  const contents: Uint8Array[] = []
  let offset = 0
  const place = (content: string | Uint8Array, path: string): string => {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content
    const line = `file ${offset} ${bytes.length} ${quoted(path)}`
    contents.push(bytes)
    offset += bytes.length
    return line
  }
  const steps = [
    ...files.map(({ path, content }) => place(content, `work/${path}`)),
    place(stdin, 'input'),
    ...phases.map((phase, index) => place(startScript(phase), `start-${index}`)),
    ...phases.map(phaseStep),
  ]
  const plan = Buffer.from(steps.map((step) => `${step} || return 0\n`).join(''))
  return Buffer.concat([Buffer.from(`${String(plan.length).padStart(16)}\n`), plan, ...contents])
}

function phaseStep({ kind, limitMs, capBytes, killAtCap, goOn, argv }: BundlePhase, index: number): string {
  const numbers = [index, phaseKinds.indexOf(kind), (limitMs / 1_000).toFixed(3), capBytes]
  return `phase ${[...numbers, Number(killAtCap), Number(goOn)].join(' ')} ${quoted(argv[0]!)}`
}

/** Read in the work directory; becomes the command. */
function startScript({ kind, argv, env }: BundlePhase): string {
  const words = [...Object.entries(env).map(([name, value]) => `${name}=${value}`), ...argv]
  if (words.some((word) => Buffer.byteLength(word) >= mostWordBytes))
    throw new Rejected('an argument or variable is longer than the kernel takes')
  const input = kind === 'run' ? 'exec < ../input; rm -f ../input\n' : ''
  return `${input}exec env -i ${words.map(quoted).join(' ')}\n`
}

const mostWordBytes = 128 * 1024

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}
