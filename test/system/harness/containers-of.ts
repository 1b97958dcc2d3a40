import { execFileSync } from 'node:child_process'

/** Ids of the containers of one execution, whatever their state. */
export function containersOf(socketPath: string, id: string): string[] {
  const label = `--filter=label=io.errand.execution=${id}`
  const args = ['--host', `unix://${socketPath}`, 'ps', '--all', '--no-trunc', '--format={{.ID}}', label]
  return execFileSync('docker', args, { encoding: 'utf8' }).split('\n').filter(Boolean)
}
