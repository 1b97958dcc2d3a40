import { spawn } from 'node:child_process'

/** The floor: the same program by the same Node, with nothing kept and nothing isolated. */
export function bareSpawn(command: readonly [string, ...string[]], expected: string): () => Promise<void> {
  const [file, ...args] = command
  return () =>
    new Promise((resolve, reject) => {
      const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'ignore'], env: { PATH: '/usr/bin:/bin' } })
      let output = ''
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
      child.on('error', reject)
      child.on('close', (code) =>
        code === 0 && output === expected
          ? resolve()
          : reject(new Error(`${file} ended with ${code}: ${output}`)),
      )
    })
}
