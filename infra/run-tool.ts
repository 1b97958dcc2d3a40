import { execFile, type ExecFileOptions } from 'node:child_process'

/**
 * Runs a tool of the machine to its end and returns what it printed.
 *
 * @throws where it fails, with what it said on stderr
 */
export function runTool(file: string, args: string[], options: ExecFileOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(file, args, { ...options, encoding: 'utf8' }, (error, stdout, stderr) => {
      if (error) reject(new Error(`${file} failed: ${stderr || error.message}`, { cause: error }))
      else resolve(stdout)
    })
  })
}
