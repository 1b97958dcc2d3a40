import { existsSync, readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

export interface Problem {
  task_id: string
  prompt: string
  entry_point: string
  canonical_solution: string
  test: string
}

const humanEval = new URL('../../../shared/data/HumanEval.jsonl.gz', import.meta.url)
const own = new URL('./own-problems.jsonl', import.meta.url)

/** HumanEval where it stands beside the project, else the project's own small set of the same form. */
export function loadProblems(): { name: string; problems: Problem[] } {
  const lines = existsSync(humanEval) ? gunzipSync(readFileSync(humanEval)) : readFileSync(own)
  const problems = lines
    .toString()
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => JSON.parse(line) as Problem)
  return { name: existsSync(humanEval) ? 'HumanEval' : "the project's own problems", problems }
}

/** The program as the benchmark's own harness builds it, with the reference solution or with a body that must fail. */
export function programOf(problem: Problem, body: 'canonical' | 'unimplemented'): string {
  const solution = body === 'canonical' ? problem.canonical_solution : '    raise NotImplementedError\n'
  return `${problem.prompt}${solution}\n${problem.test}\ncheck(${problem.entry_point})\n`
}
