import { spawn } from 'node:child_process'

/** The same program by Docker's own client, in a container that is removed. */
export function dockerRun(
  socketPath: string,
  image: string,
  options: readonly string[],
  command: readonly string[],
  expected: string,
): () => Promise<void> {
  const args = ['--host', `unix://${socketPath}`, 'run', '--rm', ...options, image, ...command]
  return () =>
    new Promise((resolve, reject) => {
      const child = spawn('docker', args, { stdio: ['ignore', 'pipe', 'ignore'] })
      let output = ''
      child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
      child.on('error', reject)
      child.on('close', (code) =>
        code === 0 && output === expected
          ? resolve()
          : reject(new Error(`docker run ended with ${code}: ${output}`)),
      )
    })
}
